"""The book of a GPU owner: its engines, what they tell, and which of them holds the lease to be awake.

A lease is a number. It ends when its holder returns it or when the holder's process has ended, never by time: an engine
that is only slow still has its weights on the GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from autoscaling.awake import EngineView, Phase, decide


@dataclass(frozen=True, slots=True)
class GpuSet:
    """The GPUs that an owner holds: the Ray node they are on, their ids there, and the owner that holds them."""

    owner_id: str
    node_id: str
    gpu_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class News:
    """What an engine's replica tells the owner. A later `number` supersedes an earlier one.

    `num_waiting` requests wait until the engine is awake. `is_busy`: requests run in it. `lease` is the one it holds as
    far as it knows, 0 for none, and `is_yielding` whether it has begun to return it; `is_awake` whether its weights are
    on the GPU. `returned` is the last lease it returned. `wake_s` is what its last wake took. `pids` are the processes
    that use the GPU.
    """

    number: int
    num_waiting: int = 0
    is_busy: bool = False
    lease: int = 0
    is_yielding: bool = False
    is_awake: bool = False
    returned: int = 0
    wake_s: float = 1.0
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What an engine is to do: hold this lease, 0 for none, and return it as soon as its requests have ended."""

    lease: int = 0
    must_yield: bool = False


@dataclass
class _Member:
    turn_s: float
    news: News = field(default_factory=lambda: News(0))
    order: Order = field(default_factory=Order)
    wanted_since_s: float | None = None
    awake_since_s: float | None = None
    last_used_s: float = 0.0


class LeaseBook:
    """The state of one set of GPUs; `now_s` is a monotonic clock."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._members: dict[str, _Member] = {}
        self._num_leases = 0

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def join(self, name: str, turn_s: float) -> None:
        """Take in an engine, asleep."""
        self._members[name] = _Member(turn_s)

    def drop(self, name: str) -> None:
        """Forget an engine whose processes have ended; its lease ends with it."""
        self._members.pop(name, None)

    def take(self, name: str, news: News) -> None:
        """Note what an engine tells."""
        member, now_s = self._members[name], self._now_s()
        if news.number <= member.news.number:
            return
        if member.news.is_busy or news.is_busy:
            member.last_used_s = now_s
        if not news.num_waiting:
            member.wanted_since_s = None
        elif member.wanted_since_s is None:
            member.wanted_since_s = now_s
        if member.order.lease and news.returned >= member.order.lease:
            member.order, member.awake_since_s = Order(), None
        if news.is_awake and member.awake_since_s is None and news.lease == member.order.lease:
            member.awake_since_s = member.last_used_s = now_s
        member.news = news

    def order(self, name: str) -> Order:
        """What the engine is to do now."""
        return self._members[name].order

    def has_news_for(self, name: str, news: News) -> bool:
        """Whether the engine's order is not the one it already follows, or it has told something newer meanwhile."""
        member = self._members[name]
        is_followed = member.order == Order(news.lease, news.is_yielding)
        return not is_followed or member.news.number > news.number

    def settle(self) -> tuple[bool, float | None]:
        """Decide who wakes and who gives way. Returns whether an order changed, and when to settle again at the latest.

        That time is in seconds of `now_s`, None when only news can change the decision.
        """
        decision = decide([_view(name, member) for name, member in self._members.items()], self._now_s())
        for name in decision.grant:
            self._num_leases += 1
            self._members[name].order = Order(self._num_leases)
        for name in (*decision.sleep, *decision.drain):
            self._members[name].order = Order(self._members[name].order.lease, must_yield=True)
        has_changed = bool(decision.grant or decision.sleep or decision.drain)
        return has_changed, decision.recheck_at_s

    def phases(self) -> dict[str, Phase]:
        """The phase of each engine, by name."""
        return {name: _phase(member) for name, member in self._members.items()}


def _phase(member: _Member) -> Phase:
    if not member.order.lease:
        return Phase.ASLEEP
    if member.order.must_yield:
        return Phase.YIELDING
    return Phase.WAKING if member.awake_since_s is None else Phase.AWAKE


def _view(name: str, member: _Member) -> EngineView:
    return EngineView(
        name,
        _phase(member),
        is_busy=member.news.is_busy,
        wanted_since_s=member.wanted_since_s,
        awake_since_s=member.awake_since_s or 0.0,
        last_used_s=member.last_used_s,
        wake_s=member.news.wake_s,
        turn_s=member.turn_s,
    )
