"""What was ordered by hand: which checkpoints are promoted, and which models are stopped. The store keeps it."""

from __future__ import annotations

from deployments.manager.store import Kind, Record, Store


class Orders:
    """The names of `promoted` and `stopped` models. What changes them may raise StoreUnavailable, and then has not."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.promoted: set[str] = set()
        self.stopped: set[str] = set()

    async def restore(self) -> None:
        """Take over what the store holds."""
        self.promoted = set(await self._store.read(Kind.PROMOTION))
        self.stopped = set(await self._store.read(Kind.STOP))

    async def promote(self, name: str) -> None:
        """An RL checkpoint may serve."""
        await self._store.put(Kind.PROMOTION, name)
        self.promoted.add(name)

    async def stop(self, name: str) -> None:
        """A model may not start."""
        await self._store.put(Kind.STOP, name)
        self.stopped.add(name)

    async def allow(self, name: str) -> None:
        """A model may start again."""
        await self._store.delete(Kind.STOP, name)
        self.stopped.discard(name)

    async def forget(self, name: str) -> None:
        """The model has left the catalog."""
        await self._store.write(Record(Kind.PROMOTION, name, None), Record(Kind.STOP, name, None))
        self.promoted.discard(name)
        self.stopped.discard(name)
