"""What a request would meet in each replica: how long it would wait, and what of its prompt is there already.

One `Outlook` belongs to one gateway. It is told what the gateway sends and hears, and what other gateways send; it
keeps hashes and figures, no prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from catalog.replicas import ReplicaReport
from router.prefill import PrefillCost, PrefillQueue, Ticket
from router.prefixes import HASH_BYTES, HeldPrefixes, Prefix

# Hashes remembered over all replicas; each takes about 160 bytes.
MAX_HASHES = 200_000
# What a replica whose engine says nothing of its KV cache is taken to hold.
ASSUMED_KV_TOKENS = 200_000
ASSUMED_BYTES_PER_TOKEN = 4.0
# The rest of the KV cache holds what is being generated, and ends of prompts behind their last cut.
_KV_SHARE = 0.9
ASSUMED_ADAPTER_LOAD_S, MIN_ADAPTER_LOAD_S = 2.0, 0.01
# Old requests count for less: about the last hundred matter.
_FADE = 0.99
# Replicas are believed to hold what they should until more than about so many tokens were not there.
_DOUBT_TOKENS = 2000.0


class Estimate(NamedTuple):
    """The time to a request's first token in one replica, and how much of its prompt is held there."""

    wait_s: float
    prefill_s: float
    adapter_s: float
    held_bytes: int

    @property
    def ttft_s(self) -> float:
        return self.wait_s + self.prefill_s + self.adapter_s


class SentPrompt(NamedTuple):
    """A prompt that a gateway has sent to a replica, for other gateways; `hashes` is all of them in one."""

    variant: str
    replica_id: str
    age_s: float
    service_s: float
    hashes: bytes


class Place(NamedTuple):
    """Where a request went: its place in the replica's queue, and what of its prompt was taken to be held there."""

    variant: str
    replica_id: str
    ticket: Ticket
    prefix: Prefix
    held_bytes: int

    @property
    def expected_s(self) -> float:
        """From when it was sent to its first token."""
        return self.ticket.through_s - self.ticket.joined_s

    @property
    def held_ratio(self) -> float:
        """The share of the prompt that was taken to be held, 0 to 1."""
        return self.held_bytes / max(1, self.prefix.num_bytes)

    def as_sent(self, now_s: float) -> SentPrompt:
        """What other gateways are told."""
        hashes = b"".join(self.prefix.hashes)
        return SentPrompt(self.variant, self.replica_id, now_s - self.ticket.joined_s, self.ticket.service_s, hashes)


@dataclass(slots=True)
class _Model:
    """What the replicas of one variant have in common. Tokens are faded sums over this gateway's requests."""

    cost: PrefillCost = field(default_factory=PrefillCost)
    adapter_load_s: float = ASSUMED_ADAPTER_LOAD_S
    prompt_bytes: float = ASSUMED_BYTES_PER_TOKEN
    prompt_tokens: float = 1.0
    expected_tokens: float = 0.0
    cached_tokens: float = 0.0

    @property
    def trust(self) -> float:
        """How much of what replicas were taken to hold they did hold; 1 while nothing is known."""
        return min(1.0, (self.cached_tokens + _DOUBT_TOKENS) / (self.expected_tokens + _DOUBT_TOKENS))


@dataclass(slots=True)
class _Replica:
    queue: PrefillQueue = field(default_factory=PrefillQueue)
    held: HeldPrefixes = field(default_factory=HeldPrefixes)
    heard_at_s: float = 0.0


class Outlook:
    """Times are seconds of the gateway's monotonic clock, except `sent_at_s` of reports."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._replicas: dict[str, _Replica] = {}

    def estimate(self, report: ReplicaReport, prefix: Prefix, now_s: float, adapter: str | None = None) -> Estimate:
        """What a request that comes now would meet in this replica."""
        model, replica = self._models.get(report.variant), self._replicas.get(report.replica_id)
        model = model or _Model()
        adapter_s = model.adapter_load_s if adapter is not None and adapter not in report.adapters else 0.0
        if replica is None:
            return Estimate(0.0, model.cost.seconds(prefix.num_bytes), adapter_s, 0)
        held_bytes = replica.held.num_held_bytes(prefix)
        prefill_s = model.cost.seconds(prefix.num_bytes - held_bytes * model.trust) * replica.queue.slowness
        return Estimate(replica.queue.wait_s(now_s), prefill_s, adapter_s, held_bytes)

    def sent(
        self,
        report: ReplicaReport,
        prefix: Prefix,
        now_s: float,
        adapter: str | None = None,
        *,
        is_stream: bool = True,
    ) -> Place:
        """A request is sent there. Either `first_token` or `left` is to follow, and `used` where that is known."""
        model = self._models.setdefault(report.variant, _Model())
        replica = self._replicas.setdefault(report.replica_id, _Replica())
        held_bytes = replica.held.num_held_bytes(prefix)
        num_bytes = round(prefix.num_bytes - held_bytes * model.trust)
        extra_s = model.adapter_load_s if adapter is not None and adapter not in report.adapters else 0.0
        usual_s = model.cost.seconds(num_bytes)
        ticket = replica.queue.join(num_bytes, usual_s, now_s, extra_s=extra_s, is_stream=is_stream)
        self._hold(report, replica, prefix.hashes)
        return Place(report.variant, report.replica_id, ticket, prefix, held_bytes)

    def first_token(self, place: Place, at_s: float) -> None:
        """The reply has begun."""
        model, replica = self._models.get(place.variant), self._replicas.get(place.replica_id)
        if model is None or replica is None:
            return
        took_s = replica.queue.first_token(place.ticket, at_s)
        if took_s is None:
            return
        if place.ticket.extra_s:
            load_s = max(MIN_ADAPTER_LOAD_S, took_s - place.ticket.service_s)
            model.adapter_load_s += (load_s - model.adapter_load_s) / 4
        else:
            model.cost.observe(place.ticket.num_bytes, took_s)

    def left(self, place: Place, at_s: float) -> None:
        """The request has ended, and no first token of it was seen."""
        if (replica := self._replicas.get(place.replica_id)) is not None:
            replica.queue.left(place.ticket, at_s)

    def used(self, place: Place, prompt_tokens: int, cached_tokens: int | None) -> None:
        """What the engine counted: tokens of the prompt, and how many of them it took from its cache, if it says so."""
        model = self._models.get(place.variant)
        if model is None or prompt_tokens <= 0:
            return
        model.prompt_bytes = model.prompt_bytes * _FADE + place.prefix.num_bytes
        model.prompt_tokens = model.prompt_tokens * _FADE + prompt_tokens
        if cached_tokens is not None:
            expected_tokens = place.held_bytes * prompt_tokens / max(1, place.prefix.num_bytes)
            model.expected_tokens = model.expected_tokens * _FADE + expected_tokens
            model.cached_tokens = model.cached_tokens * _FADE + cached_tokens

    def told(self, report: ReplicaReport, sent: SentPrompt, now_s: float) -> None:
        """Another gateway has sent this."""
        replica = self._replicas.setdefault(report.replica_id, _Replica())
        replica.queue.others_joined(sent.service_s, now_s - sent.age_s)
        hashes = [sent.hashes[at : at + HASH_BYTES] for at in range(0, len(sent.hashes), HASH_BYTES)]
        self._hold(report, replica, hashes)

    def heard(self, reports: Iterable[ReplicaReport], now_s: float) -> None:
        """These are the replicas that there are now, and what they say of themselves."""
        gone, models = set(self._replicas), set(self._models)
        for report in reports:
            models.discard(report.variant)
            gone.discard(report.replica_id)
            replica = self._replicas.get(report.replica_id)
            if replica is not None and report.sent_at_s > replica.heard_at_s:
                replica.heard_at_s = report.sent_at_s
                model = self._models.get(report.variant)
                mean_s = model.cost.mean_s if model else 0.0
                is_idle = report.running + report.waiting == 0
                replica.queue.heard(report.waiting, mean_s, now_s, is_idle=is_idle)
        for replica_id in gone:
            del self._replicas[replica_id]
        for variant in models:
            del self._models[variant]

    def describe(self, report: ReplicaReport, now_s: float) -> dict[str, float] | None:
        """What is expected of a replica, None while nothing is known. `cached_ratio` is of its model's prompts."""
        model, replica = self._models.get(report.variant), self._replicas.get(report.replica_id)
        if replica is None:
            return None
        model = model or _Model()
        return {
            "wait_s": round(replica.queue.wait_s(now_s), 3),
            "prefill_bytes_per_s": round(1 / (model.cost.slope * replica.queue.slowness)),
            "held_prefix_bytes": replica.held.num_bytes,
            "cached_ratio": round(model.cached_tokens / model.prompt_tokens, 4),
        }

    def _hold(self, report: ReplicaReport, replica: _Replica, hashes: Iterable[bytes]) -> None:
        model = self._models.get(report.variant)
        bytes_per_token = model.prompt_bytes / model.prompt_tokens if model else ASSUMED_BYTES_PER_TOKEN
        max_bytes = _KV_SHARE * (report.kv_capacity_tokens or ASSUMED_KV_TOKENS) * bytes_per_token
        replica.held.add(tuple(hashes), max_bytes, MAX_HASHES // len(self._replicas))
