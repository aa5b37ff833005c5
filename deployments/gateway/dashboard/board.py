"""What there is to show, as entries that stay the same objects while nothing of them changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from catalog.catalog import Catalog
from catalog.errors import RaymuxError
from catalog.keys import Caller
from catalog.replicas import ReplicaReport, ReplicaState, VariantStatus
from deployments.background import Background
from deployments.gateway.dashboard.job_curves import job_curves
from deployments.gateway.dashboard.rates import TokenRates
from deployments.gateway.gpus import Gpus, count_gpus
from deployments.gateway.models import Models
from deployments.gateway.services import Services
from deployments.gateway.status import replica_entry, variant_entry
from deployments.gateway.tuning_line import TuningLine

logger = logging.getLogger("ray.serve")

# Views that are asked for within this time share one look.
MAX_AGE_S = 0.5
CLUSTER_INTERVAL_S = 2.0
CLUSTER_TIMEOUT_S = 5.0


class Entry(NamedTuple):
    """A thing on the board, for those who may use its `model` and are of its `tenant`; None is for everybody."""

    model: str | None
    fields: dict[str, Any]
    tenant: str | None = None

    def is_for(self, caller: Caller) -> bool:
        """Whether a caller sees it."""
        return self.tenant in (None, caller.tenant) and (self.model is None or caller.may_use(self.model))


Section = dict[str, Entry]


class Board:
    """Models by name, variants by key, GPUs by type and jobs by id; looked at anew only while somebody asks.

    Of what `/v1/models`, `/v1/status` and `/v1/gpus` tell, with ages as the times (seconds since the epoch) from which
    they count, so that an entry does not change with each second.
    """

    def __init__(self, services: Services, models: Models, gpus: Gpus, clock: Callable[[], float] = time.time) -> None:
        self._fleet = services.fleet
        self._admission = services.admission
        self._models = models
        self._gpus = gpus
        self._line = TuningLine(services.fleet)
        self._clock = clock
        self._rates = TokenRates()
        self._background = Background()
        self._made_at_s = self._looked_at_s = float("-inf")
        self._models_made_of: object = None
        self._variants_made_of: dict[str, object] = {}
        self._sections: dict[str, Section] = {"models": {}, "variants": {}, "gpus": {}, "jobs": {}}

    @property
    def now_s(self) -> float:
        """The time that entries' times are to be compared with."""
        return self._clock()

    def sections(self) -> Mapping[str, Section]:
        """Everything, by section and key. Raises GatewayNotReady."""
        catalog, now_s = self._fleet.catalog, self._clock()
        if now_s - self._looked_at_s >= CLUSTER_INTERVAL_S:
            self._looked_at_s = now_s
            self._background.start(self._look())
            if catalog.settings.fine_tuning is not None:
                self._background.start(self._look_at_jobs())
        if now_s - self._made_at_s >= MAX_AGE_S:
            self._made_at_s = now_s
            self._describe_models(catalog)
            self._describe_variants(catalog, now_s)
        return self._sections

    def _describe_models(self, catalog: Catalog) -> None:
        fleet = self._fleet
        made_of = (self._models.version, fleet.promoted)
        if made_of == self._models_made_of:
            return
        self._models_made_of = made_of
        fresh = {
            target.name: {
                **self._models.describe(target),
                "needs_promotion": not target.auto_promote and target.name not in fleet.promoted,
            }
            for target in catalog.targets()
        }
        self._put("models", {name: Entry(name, fields) for name, fields in fresh.items()})

    def _describe_variants(self, catalog: Catalog, now_s: float) -> None:
        fleet, queued = self._fleet, self._admission.num_queued
        reports = {key: fleet.replicas(key) for key in catalog.variants}
        self._rates.note(report for each in reports.values() for report in each)
        known, fresh, made = self._sections["variants"], {}, {}
        for key, replicas in reports.items():
            model, _, shape = key.rpartition("@")
            status, rate = fleet.statuses.get(key), self._rates.of(replicas)
            made_of = made[key] = (status, replicas, queued.get(model, 0), rate)
            if key in known and self._variants_made_of.get(key) == made_of:
                fresh[key] = known[key]
                continue
            fields = variant_entry(
                model, shape, queued.get(model, 0), status, [_replica(each) for each in replicas], now_s
            )
            fresh[key] = Entry(model, {**fields, **_times(status, replicas), "completion_tokens_per_s": rate})
            fresh[key].fields.pop("since_s", None)
            fresh[key].fields.pop("retry_in_s", None)
        self._variants_made_of = made
        self._put("variants", fresh)

    async def _look(self) -> None:
        """The cluster, as far as the manager tells just now; else what was seen last stays."""
        try:
            async with asyncio.timeout(CLUSTER_TIMEOUT_S):
                counts = count_gpus(await self._gpus.cluster())
        except (RaymuxError, TimeoutError) as error:
            logger.warning("the dashboard does not learn what the cluster has: %s", type(error).__name__)
            return
        self._put("gpus", {type: Entry(None, fields) for type, fields in counts.items()})

    async def _look_at_jobs(self) -> None:
        """The fine-tuning jobs, as far as the manager tells just now; else what was seen last stays."""
        try:
            async with asyncio.timeout(CLUSTER_TIMEOUT_S):
                found = await job_curves(self._line)
        except (RaymuxError, TimeoutError) as error:
            logger.warning("the dashboard does not learn how jobs fare: %s", type(error).__name__)
            return
        self._put("jobs", {job.id: Entry(job.request.model, fields, job.request.tenant) for job, fields in found})

    def _put(self, section: str, fresh: Section) -> None:
        """Keep the entries that are as they were."""
        known = self._sections[section]
        self._sections[section] = {
            key: known[key] if key in known and known[key] == entry else entry for key, entry in fresh.items()
        }


class View:
    """What one caller has seen of the board."""

    def __init__(self, board: Board, caller: Caller) -> None:
        self._board = board
        self._caller = caller
        self._seen: dict[str, Section] = {}

    def changes(self) -> dict[str, dict[str, dict[str, Any] | None]]:
        """By section and key, the entries that differ from what was seen last; None for one that is gone.

        Sections without changes are left out. Raises GatewayNotReady.
        """
        found = {}
        for name, entries in self._board.sections().items():
            seen = self._seen.setdefault(name, {})
            news: dict[str, dict[str, Any] | None] = dict.fromkeys(seen.keys() - entries.keys())
            for key in news:
                del seen[key]
            for key, entry in self._new(entries, seen):
                news[key], seen[key] = entry.fields, entry
            if news:
                found[name] = news
        return found

    def _new(self, entries: Section, seen: Section) -> Iterator[tuple[str, Entry]]:
        for key, entry in entries.items():
            if seen.get(key) is not entry and entry.is_for(self._caller):
                yield key, entry


def _replica(report: ReplicaReport) -> dict[str, Any]:
    """Without what the gateway expects of it, which changes all the time."""
    fields = replica_entry(report, None)
    del fields["expected"]
    return fields


def _times(status: VariantStatus | None, replicas: list[ReplicaReport]) -> dict[str, Any]:
    if status is None:
        return {}
    return {"changed_at_s": status.since_s, "retry_at_s": status.retry_at_s, "start": _start(status, replicas)}


def _start(status: VariantStatus, replicas: list[ReplicaReport]) -> dict[str, Any] | None:
    """The start that is under way: the steps that are done, in seconds, and since when the present one runs."""
    begun_s = status.starting_since_s
    if begun_s is None:
        return None
    starting = next((each for each in replicas if each.state is ReplicaState.STARTING), None)
    if starting is None:
        return {"begun_at_s": begun_s, "steps_s": {}, "step": "scheduling", "step_began_at_s": begun_s}
    steps_s = {"scheduling": round(max(0.0, starting.created_at_s - begun_s), 3), **starting.step_durations_s}
    return {
        "begun_at_s": begun_s,
        "steps_s": steps_s,
        "step": str(starting.step or "importing"),
        "step_began_at_s": round(starting.created_at_s + sum(starting.step_durations_s.values()), 3),
    }
