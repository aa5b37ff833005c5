"""Keeps one variant: starts it once for everybody who waits, notes how starts went, and knows its replicas.

All of its methods run on the manager's event loop, which owns the state; nothing is looked at now and acted on later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from autoscaling.choice import Reason
from autoscaling.lifecycle import expected_start_s, variant_state
from catalog.catalog import AdapterSpec, VariantSpec
from catalog.errors import GpuUnavailable, ModelLoading, ModelStopped, RaymuxError
from catalog.replicas import (
    ColdStart,
    ReplicaReport,
    ReplicaState,
    StartStep,
    VariantState,
    VariantStatus,
)
from deployments.background import Background
from deployments.manager.arrivals import Arrivals
from deployments.manager.decision_log import DecisionLog
from deployments.manager.roster import Roster
from deployments.manager.serve_control import ServeControl
from deployments.manager.start_gate import StartGate

logger = logging.getLogger("ray.serve")

FIRST_GUESS_S = 30.0
# So long a start is left to find its place, before anybody asks whether there is one.
PLACING_S = 3.0


class VariantKeeper:
    """The life of one variant."""

    def __init__(self, spec: VariantSpec, control: ServeControl, on_change: Callable[[str, bool], None]) -> None:
        self.spec = spec
        self.is_deployed = False
        self._control = control
        self._on_change = on_change
        self._gate = StartGate(spec.model)
        self._start: asyncio.Task[None] | None = None
        self._arrivals = Arrivals(control)
        self._adapter_loads: dict[str, asyncio.Task[ReplicaReport]] = {}
        self._applications = asyncio.Lock()
        self._background = Background()
        self._roster = Roster()
        self._decisions = DecisionLog(control)
        self._last_start: ColdStart | None = None
        self._expected_s: float | None = None
        self._num_starts = 0
        self._begun_s = 0.0
        self._since_s = time.time()
        self._state = VariantState.COLD
        self._chosen_because = ""

    @property
    def replicas(self) -> dict[str, ReplicaReport]:
        """What its replicas said of themselves last, by their ids."""
        return self._roster.reports

    @property
    def state(self) -> VariantState:
        return self._state

    @property
    def num_ongoing(self) -> int:
        """Requests in its replicas, as they reported last."""
        return sum(report.running + report.waiting for report in self.replicas.values())

    @property
    def expected_start_s(self) -> float:
        """What its next start should take, from its own past ones."""
        return self._expected_s or FIRST_GUESS_S

    @property
    def has_room(self) -> bool:
        """Whether a ready replica has fewer ongoing requests than it should carry."""
        most = self.spec.settings.target_ongoing_requests
        return any(each.running + each.waiting < most for each in self.replicas.values() if each.is_ready)

    @property
    def is_blocked(self) -> bool:
        """Whether no start may be tried now: stopped by hand, or waiting after a failed start."""
        return self._gate.is_blocked(time.time())

    def note_choice(self, reason: Reason) -> None:
        """Remember why the variant is started; its status tells."""
        if reason not in (Reason.WARM, Reason.FULL, Reason.STARTING):
            self._chosen_because = str(reason)
            self._changed()

    # Requests

    def forget(self, suspects: Iterable[str]) -> None:
        """Forget replicas that a gateway could not reach, until they report again."""
        for suspect in suspects:
            self._roster.drop(suspect)
        self._changed()

    async def ensure_ready(self) -> ReplicaReport:
        """A ready replica; starts the variant when there is none. Callers of one start share it.

        Raises ModelStopped, ModelFailed, ModelLoading, or GpuUnavailable when its place goes meanwhile.
        """
        self.require_startable()
        ready = self._ready()
        if ready is None:
            await self._started()
            ready = self._ready()
        if ready is None:
            raise ModelLoading(f"{self.spec.model} left while it was starting; try again.", retry_after_s=1)
        return ready

    async def ensure_adapter(self, adapter: AdapterSpec) -> ReplicaReport:
        """A ready replica that holds the adapter. Callers of one load share it. Raises AdapterRejected too."""
        await self.ensure_ready()
        load = self._adapter_loads.get(adapter.name)
        if load is None:
            load = asyncio.create_task(self._control.hold_adapter(self.spec, adapter))
            self._adapter_loads[adapter.name] = load
            load.add_done_callback(lambda _: self._adapter_loads.pop(adapter.name, None))
        holder = await asyncio.shield(load)
        self.take(holder)
        return holder

    def require_startable(self) -> None:
        """Raise ModelStopped or ModelFailed when no start may be tried now."""
        self._gate.require_open(time.time())

    # Starting

    async def _started(self) -> None:
        if self._start is None:
            # Here and not in the task: what arrives before the task first runs must not be lost.
            self._arrivals = Arrivals(self._control)
            self._begun_s = time.time()
            self._start = asyncio.create_task(self._run_start(self._begun_s))
            self._start.add_done_callback(self._end_start)
            self._changed()
        start, timeout_s = self._start, self.spec.lifecycle.cold_start_timeout_s
        try:
            await asyncio.wait_for(asyncio.shield(start), timeout_s)
        except TimeoutError:
            raise ModelLoading(
                f"{self.spec.model} is still starting after {timeout_s:g} s; try again later.",
                retry_after_s=timeout_s / 4,
            ) from None

    def _end_start(self, start: asyncio.Task[None]) -> None:
        self._start = None
        if not start.cancelled() and (error := start.exception()) and not isinstance(error, RaymuxError):
            logger.error("start of %s failed: %r", self.spec.key, error)
        self._changed()

    async def _run_start(self, begun_s: float) -> None:
        """Deploy if need be, wake, and wait for the first ready replica. Raises ModelFailed, or what ends the start."""
        self._num_starts += 1
        logger.info("starting %s", self.spec.key)
        try:
            await self._deploy()
            arrival = await self._arrivals.first(self.spec)
        except (ModelStopped, GpuUnavailable):
            raise
        except RaymuxError as error:
            self._note_failure(error.message)
            raise self._gate.failed_error(time.time()) from None
        except Exception as error:
            logger.exception("deploying %s failed", self.spec.key)
            self._note_failure(f"{type(error).__name__} while it was deployed; the manager's log says more")
            raise self._gate.failed_error(time.time()) from None
        self._note_start(begun_s, arrival)

    async def _deploy(self) -> None:
        async with self._applications:
            if not self.is_deployed:
                await self._control.deploy(self.spec)
                self.is_deployed = True

    def _note_start(self, begun_s: float, arrival: ReplicaReport) -> None:
        total_s = round(time.time() - begun_s, 3)
        scheduling_s = round(max(0.0, arrival.created_at_s - begun_s), 3)
        steps_s = {StartStep.SCHEDULING: scheduling_s, **arrival.step_durations_s}
        self._last_start = ColdStart(round(begun_s, 3), total_s, dict(steps_s))
        self._expected_s = expected_start_s(self._expected_s, total_s)
        self._gate.forget_failure()
        logger.info("%s is ready after %.1f s", self.spec.key, total_s)

    def _note_failure(self, reason: str) -> None:
        self._gate.note_failure(reason, self.spec.lifecycle.retry_backoff_s, time.time())
        logger.error("%s failed to start: %s", self.spec.key, reason)
        # Serve would try again and again by itself; the backoff is ours.
        self._background.start(self.remove())

    def is_unplaced(self, now_s: float) -> bool:
        """Whether a start has waited for its place for longer than finding one takes."""
        return self._state is VariantState.SCHEDULING and now_s - self._since_s > PLACING_S

    def lose_place(self, error: GpuUnavailable) -> None:
        """End a start that can find no place: whoever waits for it gets the error. Returns at once."""
        logger.warning("%s: %s", self.spec.key, error.message)
        self._arrivals.put(error)
        self._background.start(self.remove())

    # Stopping and updating

    def stop(self) -> None:
        """Stop by hand: running requests end, new ones get ModelStopped until `allow_start`. Returns at once."""
        if not self._gate.is_stopped:
            self._gate.is_stopped = True
            self._arrivals.put(self._gate.stopped_error())
            self._changed()
        self._background.start(self.remove())

    def allow_start(self) -> None:
        """End a stop by hand, and forget an earlier failure."""
        self._gate.is_stopped = False
        self._gate.forget_failure()
        self._changed()

    async def remove(self) -> None:
        """Delete the application; its replicas drain first."""
        async with self._applications:
            if self.is_deployed:
                await self._control.delete(self.spec.app_name)
                self.is_deployed = False
                # One that was still starting has had no chance to say that it left.
                self.replicas.clear()
        self._changed()

    async def retire(self) -> None:
        """Leave nothing behind: the variant is no longer in the catalog."""
        await self.remove()
        await self._decisions.forget(self.spec.app_name)

    async def update(self, spec: VariantSpec) -> None:
        """Serve with a new spec from now on: a running variant is replaced, a cold one only noted."""
        if spec.fingerprint == self.spec.fingerprint:
            return
        self.spec = spec
        self._gate.forget_failure()
        self._changed()
        if not self._gate.is_stopped and (self.replicas or self._start is not None):
            async with self._applications:
                await self._control.deploy(spec)
                self.is_deployed = True
        else:
            await self.remove()

    # Reports

    def take(self, report: ReplicaReport) -> None:
        """Note what a replica says of itself."""
        known = self.replicas.get(report.replica_id)
        if not self._roster.take(report, time.time()):
            return
        has_arrived = known is None or known.state is not report.state
        if has_arrived and report.state in (ReplicaState.READY, ReplicaState.FAILED):
            self._arrivals.put(report)
        self._changed()

    async def forget_silent(self, now_s: float) -> None:
        """Drop replicas that have not reported for long, and kill those that stay silent.

        Serve would take three health checks of 30 s to do so.
        """
        if self._roster.drop_silent(now_s):
            self._changed()
        for replica_id in self._roster.take_hung(now_s):
            await self._control.end_replica(self.spec.app_name, replica_id)

    def _ready(self) -> ReplicaReport | None:
        return next((report for report in self.replicas.values() if report.is_ready), None)

    def _changed(self) -> None:
        state = variant_state(
            self.replicas.values(),
            is_asked_for=self._start is not None,
            is_deployed=self.is_deployed,
            is_stopped=self._gate.is_stopped,
            has_failed=self._gate.failure is not None,
        )
        is_new = state is not self._state
        if is_new:
            self._state, self._since_s = state, time.time()
        self._on_change(self.spec.key, is_new)

    async def read_decisions(self, now_s: float) -> None:
        """Learn why Serve changes the number of replicas."""
        num_replicas = len(self.replicas)
        if not self._decisions.is_due(num_replicas, now_s):
            return
        if await self._decisions.read(self.spec.app_name, num_replicas, now_s):
            self._changed()

    @property
    def last_start(self) -> ColdStart | None:
        """The last start that took place since the manager runs."""
        return self._last_start

    def status(self) -> VariantStatus:
        """What `GET /v1/status` shows of the variant."""
        step = next((r.step for r in self.replicas.values() if r.state is ReplicaState.STARTING and r.step), None)
        if self._state is VariantState.SCHEDULING:
            step = StartStep.SCHEDULING
        failure = self._gate.failure
        return VariantStatus(
            variant=self.spec.key,
            state=self._state,
            step=step,
            since_s=self._since_s,
            expected_start_s=round(self.expected_start_s, 1),
            num_starts=self._num_starts,
            last_start=self._last_start,
            last_error=failure.reason if failure else "",
            retry_at_s=failure.retry_at_s if failure else None,
            chosen_because=self._chosen_because,
            decisions=self._decisions.entries,
            starting_since_s=round(self._begun_s, 3) if self._start is not None else None,
        )
