"""Which store a configuration asks for."""

from __future__ import annotations

from catalog.project import PROJECT
from catalog.settings import CatalogSettings
from deployments.environment import redis_url
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.store import Store


def open_store(settings: CatalogSettings) -> Store:
    """The store, which is not asked anything yet. Raises ValueError where the environment lacks the URL of Redis."""
    if settings.store_redis is not None:
        # Only now: its client takes a tenth of a second to import.
        from deployments.manager.redis_store import RedisStore

        return RedisStore(redis_url(settings.store_redis), settings.store_redis)
    return SqliteStore(PROJECT / settings.store)
