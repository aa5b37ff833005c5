"""The records of fine-tuning jobs and of what has happened to them: in memory, and in the store before that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from catalog.errors import JobNotFound
from catalog.job_steps import Note, Step
from catalog.jobs import Job, JobEvent
from deployments.manager.outbox import Outgoing
from deployments.manager.store import Kind, Record, Store

# Of one job; beyond that every second of the older metrics goes, so that a curve keeps its shape.
MAX_EVENTS = 1_000
# Of all tenants together; what a job has trained stays when the job is forgotten.
MAX_ENDED = 1_000

Write = Callable[..., Awaitable[None]]


class Jobs:
    """Owns the jobs; changes of one come one after the other.

    `write(events, *records)` stores records together with events for receivers of webhooks: all or, with
    StoreUnavailable, none.
    """

    def __init__(self, store: Store, write: Write, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._write = write
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._events: dict[str, list[JobEvent]] = {}
        self._changing = asyncio.Lock()

    async def restore(self) -> None:
        """Take over what the store holds."""
        records = await self._store.read(Kind.JOB)
        self._jobs = {id: Job.from_record(record) for id, record in records.items()}
        self._events = {id: [] for id in self._jobs}
        for name, record in (await self._store.read(Kind.JOB_EVENT)).items():
            if (events := self._events.get(name.partition("/")[0])) is not None:
                events.append(JobEvent(**record))
        for events in self._events.values():
            events.sort(key=lambda event: event.number)

    def all(self) -> list[Job]:
        """Every job, oldest first."""
        return sorted(self._jobs.values(), key=lambda job: (job.created_s, job.id))

    def open(self) -> list[Job]:
        """Those that have not ended."""
        return [job for job in self.all() if not job.status.has_ended]

    def get(self, id: str) -> Job:
        """The job as it is now. Raises KeyError."""
        return self._jobs[id]

    def find(self, tenant: str, id: str) -> Job:
        """A tenant's job. Raises JobNotFound, for that of another tenant too."""
        job = self._jobs.get(id)
        if job is None or job.request.tenant != tenant:
            raise JobNotFound("No fine-tuning job has this id. See GET /v1/fine_tuning/jobs.", param="id")
        return job

    def events(self, id: str, after: int = 0) -> list[JobEvent]:
        """What has happened to a job since an event of this number, oldest first."""
        return [event for event in self._events.get(id, ()) if event.number > after]

    async def add(self, job: Job, note: Note) -> Job:
        """Know a new job. Raises StoreUnavailable."""
        async with self._changing:
            return await self._put(job, (note,))

    async def change(
        self, id: str, step: Callable[[Job], Step | None], tell: Callable[[Job], Sequence[Outgoing]] | None = None
    ) -> Job:
        """Take a step of a job, as it is by then; `tell` gives the webhooks of the job after it.

        Raises what `step` raises, or StoreUnavailable; then nothing has changed.
        """
        async with self._changing:
            job = self._jobs[id]
            taken = step(job)
            if taken is None or (taken.job == job and not taken.notes):
                return job
            return await self._put(taken.job, taken.notes, tell(taken.job) if tell else ())

    async def _put(self, job: Job, notes: Iterable[Note], told: Sequence[Outgoing] = ()) -> Job:
        fresh = [
            JobEvent(
                number=job.num_events + index,
                at_s=self._clock(),
                level=note.level,
                type=note.type,
                message=note.message,
                data=note.data,
            )
            for index, note in enumerate(notes, start=1)
        ]
        job = replace(job, num_events=job.num_events + len(fresh))
        known = [*self._events.get(job.id, ()), *fresh]
        kept = thinned(known)
        dropped = {event.number for event in known} - {event.number for event in kept}
        await self._write(
            told,
            Record(Kind.JOB, job.id, job.to_record()),
            *(_record(job.id, event.number, asdict(event)) for event in fresh if event.number not in dropped),
            *(_record(job.id, number, None) for number in dropped),
        )
        self._jobs[job.id], self._events[job.id] = job, kept
        return job

    async def forget_old(self) -> None:
        """Drop the jobs that ended so many others ago. Raises StoreUnavailable."""
        ended = [job for job in self.all() if job.status.has_ended and not job.has_training]
        for job in ended[:-MAX_ENDED]:
            async with self._changing:
                events = self._events.get(job.id, ())
                await self._write(
                    (), Record(Kind.JOB, job.id, None), *(_record(job.id, event.number, None) for event in events)
                )
                del self._jobs[job.id]
                self._events.pop(job.id, None)


def thinned(events: Sequence[JobEvent]) -> list[JobEvent]:
    """As many events as are kept: of too many every second of the older metrics goes, or else the oldest."""
    if len(events) <= MAX_EVENTS:
        return list(events)
    older = [event for event in events[: len(events) // 2] if event.type == "metrics"]
    spared = {event.number for event in older[1::2]}
    if not spared:
        return list(events[-MAX_EVENTS:])
    return thinned([event for event in events if event.number not in spared])


def _record(job_id: str, number: int, value: dict[str, Any] | None) -> Record:
    return Record(Kind.JOB_EVENT, f"{job_id}/{number:08d}", value)
