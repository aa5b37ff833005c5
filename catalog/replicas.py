"""What replicas, manager and gateways tell each other about engine replicas and variants."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class ReplicaState(StrEnum):
    """Where a replica is in its life. Only a ready one is offered requests."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"
    FAILED = "failed"


class StartStep(StrEnum):
    """The steps of a cold start, in order. `scheduling` lasts until the replica's process runs our code.

    `fetching` only where the source is a URL.
    """

    SCHEDULING = "scheduling"
    FETCHING = "fetching"
    IMPORTING = "importing"
    LOADING = "loading"
    WARMING_UP = "warming_up"


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What a replica says of itself, every second or two and at every change. Times are seconds since the epoch.

    `address` is `host:port` of its HTTP server, and `secret` what that server asks for; both are empty until it is
    ready. `running` and `waiting` count requests in the engine, `kv_usage_ratio` is 0 to 1 of `kv_capacity_tokens` (0
    where the engine does not say). `adapters` are those it holds, `busy_adapters` those of them that requests use.
    `used_at_s` is when it last had a request, 0 for never. `is_asleep`: its engine wakes with the next request.
    `completion_tokens` counts those that it has made since it began.
    """

    replica_id: str
    variant: str
    fingerprint: str
    state: ReplicaState
    sent_at_s: float
    address: str = ""
    secret: str = field(default="", repr=False)
    step: StartStep | None = None
    step_durations_s: dict[str, float] = field(default_factory=dict)
    created_at_s: float = 0.0
    reason: str = ""
    running: int = 0
    waiting: int = 0
    kv_usage_ratio: float = 0.0
    kv_capacity_tokens: int = 0
    adapters: tuple[str, ...] = ()
    busy_adapters: tuple[str, ...] = ()
    used_at_s: float = 0.0
    completion_tokens: int = 0
    is_asleep: bool = False
    node: str = ""
    pid: int = 0

    @property
    def is_ready(self) -> bool:
        return self.state is ReplicaState.READY


class VariantState(StrEnum):
    """The state of a variant, as `GET /v1/status` shows it."""

    COLD = "cold"
    SCHEDULING = "scheduling"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class ScalingDecision(NamedTuple):
    """A change of a variant's number of replicas, and why. `at_s` is seconds since the epoch."""

    at_s: float
    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True)
class ColdStart:
    """The last start of a variant that took place, by step in seconds; `total_s` from request to ready."""

    at_s: float
    total_s: float
    steps_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class VariantStatus:
    """What the manager knows of one variant.

    `expected_start_s` is learned from its own past starts, `num_starts` counts those tried since the manager runs.
    `chosen_because` is why it was started last (`autoscaling.choice.Reason`), empty while it never was. `decisions` are
    the last changes of its number of replicas, oldest first. `starting_since_s` is when the start that is under way
    began, None when none is.
    """

    variant: str
    state: VariantState
    step: StartStep | None = None
    since_s: float = 0.0
    expected_start_s: float = 30.0
    num_starts: int = 0
    last_start: ColdStart | None = None
    last_error: str = ""
    retry_at_s: float | None = None
    chosen_because: str = ""
    decisions: tuple[ScalingDecision, ...] = ()
    starting_since_s: float | None = None
