"""Which engines of one set of GPUs are awake: a pure function of what they do and who waits.

An engine's phases, as the owner of the GPUs sees them:

    asleep    -> waking     it is granted the lease to be awake
    waking    -> awake      its weights are on the GPU; its turn begins
    awake     -> yielding   told to return the lease: at once when it is idle and another one waits, or because its turn
                            is over; it takes no new requests, and finishes those that run
    yielding  -> asleep     it sleeps, and has returned the lease
    any       -> (left)     its process has ended, and with it the lease

Turns are given in the order of waiting, and each lasts a bounded time while others wait, so everybody gets one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

# An engine used this short a time ago costs as much to lose as one used just now.
_JUST_NOW_S = 0.1


class Phase(StrEnum):
    """Where an engine is between asleep and awake; see the module's docstring."""

    ASLEEP = "asleep"
    WAKING = "waking"
    AWAKE = "awake"
    YIELDING = "yielding"


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine. Times are seconds of one clock.

    `is_busy`: requests run in it. `wanted_since_s`: since when requests wait for it, None while none do.
    `awake_since_s`: when its turn began. `wake_s`: what its last wake took. `turn_s`: how long a turn may last while
    others wait.
    """

    name: str
    phase: Phase = Phase.ASLEEP
    is_busy: bool = False
    wanted_since_s: float | None = None
    awake_since_s: float = 0.0
    last_used_s: float = 0.0
    wake_s: float = 1.0
    turn_s: float = 30.0

    @property
    def is_idle(self) -> bool:
        """Awake, with nothing to do."""
        return self.phase is Phase.AWAKE and not self.is_busy and self.wanted_since_s is None

    @property
    def turn_ends_s(self) -> float:
        return self.awake_since_s + self.turn_s


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, by the engines' names.

    `grant`: these may wake. `sleep`: these are idle and give way. `drain`: these are busy and their turn is over: they
    take no new requests, and sleep when they have finished. `recheck_at_s`: when the next turn ends for which somebody
    waits; until then only news changes the decision.
    """

    grant: tuple[str, ...] = ()
    sleep: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    recheck_at_s: float | None = None


def decide(engines: Iterable[EngineView], now_s: float, max_awake: int = 1) -> Decision:
    """Who wakes and who gives way, so that at most `max_awake` engines hold the lease.

    An engine that is waking is left alone, and one that is busy is never put to sleep. Nothing is granted before
    somebody has returned the lease.
    """
    engines = list(engines)
    waiting = [each for each in engines if each.phase is Phase.ASLEEP and each.wanted_since_s is not None]
    waiting.sort(key=lambda each: (each.wanted_since_s, each.name))
    num_held = sum(each.phase is not Phase.ASLEEP for each in engines)
    grant = waiting[: max(0, max_awake - num_held)]
    num_returning = sum(each.phase is Phase.YIELDING for each in engines)
    num_needed = max(0, len(waiting) - len(grant) - num_returning)
    idle = sorted((each for each in engines if each.is_idle), key=lambda each: (_loss(each, now_s), each.name))
    sleep = idle[:num_needed]
    num_needed -= len(sleep)
    busy = [each for each in engines if each.phase is Phase.AWAKE and not each.is_idle]
    busy.sort(key=lambda each: (each.turn_ends_s, each.name))
    drain = [each for each in busy if each.turn_ends_s <= now_s][:num_needed]
    num_needed -= len(drain)
    to_come = [each.turn_ends_s for each in busy if each.turn_ends_s > now_s]
    recheck_at_s = min(to_come) if num_needed and to_come else None
    return Decision(_names(grant), _names(sleep), _names(drain), recheck_at_s)


def _loss(engine: EngineView, now_s: float) -> float:
    """What putting an idle engine to sleep costs: its wake, the likelier needed the shorter it has been idle."""
    return engine.wake_s / max(_JUST_NOW_S, now_s - engine.last_used_s)


def _names(engines: Iterable[EngineView]) -> tuple[str, ...]:
    return tuple(each.name for each in engines)
