"""Follows what this gateway sends to replicas, so that the next request's way can be estimated (`router.outlook`).

Nothing is done while bytes flow: when a choice is to be made, the requests under way are looked at for first tokens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from catalog.catalog import AdapterSpec
from catalog.replicas import ReplicaReport
from deployments.gateway.exchange import Exchange
from router.outlook import Estimate, Outlook, Place, SentPrompt
from router.prefixes import Prefix, prefix_of

# What is kept for other gateways until the manager is asked the next time.
MAX_SENT = 256


class Prompt:
    """The prompt of one request, which is hashed when a choice needs it.

    Tenants have nothing in common: what one has sent has no influence on another one's way.
    """

    def __init__(self, fields: Mapping[str, Any], tenant: str, *, is_stream: bool) -> None:
        self._fields = fields
        self._tenant = tenant
        self.is_stream = is_stream
        self._prefixes: dict[str, Prefix] = {}

    def prefix(self, adapter: AdapterSpec | None) -> Prefix:
        """Its prefix, as it is with this adapter: what an engine keeps of a prompt depends on the weights."""
        name = adapter.name if adapter else ""
        if name not in self._prefixes:
            self._prefixes[name] = prefix_of(self._fields, (self._tenant, name))
        return self._prefixes[name]


class Lookout:
    """What this gateway has under way, and what it has heard of others. `clock` is that of `Exchange.begun_s`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._outlook = Outlook()
        # Streams whose first token has not been seen yet.
        self._awaited: dict[int, tuple[Place, Exchange]] = {}
        self._num_followed = 0
        self._sent: deque[Place] = deque(maxlen=MAX_SENT)
        self.has_others = False

    def estimator(self, prompt: Prompt, adapter: AdapterSpec | None) -> Callable[[ReplicaReport], Estimate]:
        """What the prompt would meet, as a function of the replica. Costs nothing until it is called."""
        name = adapter.name if adapter else None
        now_s: float | None = None

        def estimate(report: ReplicaReport) -> Estimate:
            nonlocal now_s
            if now_s is None:
                self._look()
                now_s = self._clock()
            return self._outlook.estimate(report, prompt.prefix(adapter), now_s, name)

        return estimate

    @contextmanager
    def following(
        self, report: ReplicaReport, prompt: Prompt, adapter: AdapterSpec | None, exchange: Exchange
    ) -> Iterator[None]:
        """The prompt is sent there, and its reply comes while the block runs."""
        place = self._outlook.sent(
            report,
            prompt.prefix(adapter),
            self._clock(),
            adapter.name if adapter else None,
            is_stream=prompt.is_stream,
        )
        exchange.expected_ms = place.expected_s * 1000
        exchange.held_ratio = place.held_ratio
        if self.has_others:
            self._sent.append(place)
        key = self._num_followed = self._num_followed + 1
        if prompt.is_stream:
            self._awaited[key] = place, exchange
        try:
            yield
        finally:
            if prompt.is_stream:
                self._look()
            if not prompt.is_stream or self._awaited.pop(key, None) is not None:
                self._outlook.left(place, self._clock())
            if exchange.usage is not None:
                self._outlook.used(place, exchange.usage.prompt_tokens, exchange.usage.cached_tokens)

    def heard(self, reports: Iterable[ReplicaReport]) -> None:
        """These are the replicas that there are now."""
        self._look()
        self._outlook.heard(reports, self._clock())

    def told(self, report: ReplicaReport, sent: SentPrompt) -> None:
        """Another gateway has sent this."""
        self._outlook.told(report, sent, self._clock())

    def take_sent(self) -> tuple[SentPrompt, ...]:
        """What other gateways are to be told, once."""
        now_s = self._clock()
        sent = tuple(place.as_sent(now_s) for place in self._sent)
        self._sent.clear()
        return sent

    def describe(self, report: ReplicaReport) -> dict[str, float] | None:
        """What this gateway expects of a replica, for operators; None while it has sent nothing there."""
        return self._outlook.describe(report, self._clock())

    def _look(self) -> None:
        """Note the first tokens that have come since the last time, in their order."""
        come = [
            (exchange.begun_s + exchange.first_byte_ms / 1000, key)
            for key, (_, exchange) in self._awaited.items()
            if exchange.first_byte_ms is not None
        ]
        for at_s, key in sorted(come):
            self._outlook.first_token(self._awaited.pop(key)[0], at_s)
