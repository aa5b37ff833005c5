"""Whose turn it is to train: one tenant after the other, each tenant's jobs in the order they came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Waiting(NamedTuple):
    """A job that waits for its place since `queued_s`, and not before `not_before_s`."""

    id: str
    tenant: str
    queued_s: float
    not_before_s: float = 0.0


def in_turn(
    waiting: Iterable[Waiting], active: Iterable[str], last_started_s: Mapping[str, float], now_s: float
) -> list[str]:
    """The ids of the jobs that may start, in the order in which they should.

    `active` are the tenants of the jobs that train, once for each, and `last_started_s` when a job of a tenant was
    last started. The tenant with the fewest jobs is next, then the one that has waited longest since its last one.
    """
    num_active = Counter(active)
    queues: dict[str, list[Waiting]] = {}
    for job in sorted(waiting, key=lambda job: (job.queued_s, job.id)):
        if job.not_before_s <= now_s:
            queues.setdefault(job.tenant, []).append(job)
    turns: list[str] = []
    while queues:
        tenant = min(
            queues,
            key=lambda each: (num_active[each], last_started_s.get(each, 0.0), queues[each][0].queued_s, each),
        )
        turns.append(queues[tenant].pop(0).id)
        num_active[tenant] += 1
        if not queues[tenant]:
            del queues[tenant]
    return turns
