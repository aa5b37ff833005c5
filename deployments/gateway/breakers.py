"""The circuit breakers of a gateway: one for each replica or provider that has failed lately."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from cachetools import LRUCache

from catalog.errors import ServiceError
from router.breaker import Breaker, BreakerRules

logger = logging.getLogger("ray.serve")

MAX_BREAKERS = 10_000


class HungError(Exception):
    """The other side holds a request and shows no sign of life."""


class Breakers:
    """Breakers by name. A name without one is closed; a replica that comes and goes leaves nothing behind."""

    def __init__(
        self,
        rules: BreakerRules,
        clock: Callable[[], float] = time.monotonic,
        on_open: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._on_open = on_open
        self._breakers: LRUCache[str, Breaker] = LRUCache(MAX_BREAKERS)

    def blocked(self, names: Iterable[str]) -> dict[str, float]:
        """Those of the names that get no request now, with the seconds until one may be tried."""
        if not self._breakers:
            return {}
        now_s = self._clock()
        found = ((name, self._breakers.get(name)) for name in names)
        return {name: breaker.retry_after_s(now_s) for name, breaker in found if breaker and not breaker.allows(now_s)}

    @contextmanager
    def watching(self, name: str) -> Iterator[None]:
        """Judge the other side by how the block ends.

        A ServiceError (5xx) or OSError counts against it, HungError opens the circuit at once, and an ordinary end
        closes it. Any other exception, a client that leaves or a refused request, says nothing.
        """
        breaker = self._breakers.get(name)
        is_probe = breaker is not None and breaker.begin(self._clock())
        try:
            yield
        except HungError:
            self._note(name, opened=self._of(name).trip(self._clock()))
            raise
        except (ServiceError, OSError):
            self._note(name, opened=self._of(name).failed(self._clock(), is_probe=is_probe))
            raise
        except BaseException:
            if breaker is not None:
                breaker.ended(is_probe=is_probe)
            raise
        else:
            if breaker is not None:
                breaker.succeeded()
                self._breakers.pop(name, None)

    def _of(self, name: str) -> Breaker:
        breaker = self._breakers.get(name)
        if breaker is None:
            breaker = self._breakers[name] = Breaker(self._rules)
        return breaker

    def _note(self, name: str, *, opened: bool) -> None:
        if opened:
            logger.warning("%s has failed too often and is left alone for a while", name)
            self._on_open(name)
