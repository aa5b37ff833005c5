from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException

from autoscaling.choice import Reason
from catalog.catalog import AdapterSpec, VariantSpec
from catalog.errors import AdapterRejected, ModelFailed, ModelLoading, ModelStopped
from catalog.replicas import ReplicaReport, ReplicaState, ScalingDecision, StartStep, VariantState, VariantStatus
from deployments.manager import arrivals
from deployments.manager import keeper as keeper_module
from deployments.manager.decision_log import INTERVAL_S
from deployments.manager.keeper import VariantKeeper
from deployments.manager.roster import HUNG_AFTER_S, SILENT_AFTER_S
from tests.unit.builders import adapter, report, settle, variant
from tests.unit.deployments.manager.conftest import FakeServe


class FakeControl(FakeServe):
    """Serve as the manager needs it; the test says how each call goes."""

    def __init__(self) -> None:
        super().__init__()
        self.deploys: list[VariantSpec] = []
        self.deletes: list[str] = []
        self.num_wakes = 0
        self.wake_errors: list[Exception] = []
        self.may_deploy = asyncio.Event()
        self.may_deploy.set()
        self.may_delete = asyncio.Event()
        self.may_delete.set()
        self.deploy_error: Exception | None = None
        self.given_up: str | None = None
        self.adapter_loads: list[str] = []
        self.holder: asyncio.Future[ReplicaReport] = asyncio.get_running_loop().create_future()

    async def deploy(self, spec: VariantSpec) -> None:
        self.deploys.append(spec)
        await self.may_deploy.wait()
        if self.deploy_error is not None:
            raise self.deploy_error

    async def delete(self, app_name: str) -> None:
        self.deletes.append(app_name)
        await self.may_delete.wait()

    async def deploy_failure(self, app_name: str) -> str | None:
        return self.given_up

    async def wake(self, spec: VariantSpec) -> None:
        self.num_wakes += 1
        if self.wake_errors:
            raise self.wake_errors.pop()
        await asyncio.Event().wait()

    async def hold_adapter(self, spec: VariantSpec, adapter: AdapterSpec) -> ReplicaReport:
        self.adapter_loads.append(adapter.name)
        return await self.holder


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def time(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(keeper_module, "time", clock)
    return clock


@pytest.fixture
async def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
async def keeper(control: FakeControl, clock: Clock) -> AsyncIterator[VariantKeeper]:
    """Whatever happens to it, what there is to know of it is what was announced last: gateways hear of nothing else."""

    def shown(keeper: VariantKeeper) -> tuple[VariantStatus, dict[str, ReplicaReport]]:
        return keeper.status(), dict(keeper.replicas)

    announced: list[Any] = []
    keeper = VariantKeeper(variant(), control, lambda *_: announced.append(shown(keeper)))  # type: ignore[arg-type]
    announced.append(shown(keeper))
    yield keeper
    await settle()
    assert shown(keeper) == announced[-1]


def ready(replica_id: str = "r1", **changes: Any) -> ReplicaReport:
    return report(replica_id, ReplicaState.READY, **changes)


def failed(reason: str = "out of memory", replica_id: str = "r1", **changes: Any) -> ReplicaReport:
    return report(replica_id, ReplicaState.FAILED, reason=reason, **changes)


async def waiters(keeper: VariantKeeper, count: int) -> list[asyncio.Task[ReplicaReport]]:
    tasks = [asyncio.create_task(keeper.ensure_ready()) for _ in range(count)]
    await settle()
    return tasks


async def outcomes(tasks: list[asyncio.Task[ReplicaReport]]) -> list[ReplicaReport | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def failed_start(keeper: VariantKeeper, reason: str = "out of memory") -> ModelFailed:
    waiting = await waiters(keeper, 1)
    keeper.take(failed(reason))
    with pytest.raises(ModelFailed) as caught:
        await waiting[0]
    await settle()
    return caught.value


# Starting


async def test_a_hundred_waiters_start_a_model_once(keeper: VariantKeeper, control: FakeControl) -> None:
    waiting = await waiters(keeper, 100)
    assert not any(task.done() for task in waiting)
    keeper.take(ready())
    assert await outcomes(waiting) == [ready()] * 100
    assert len(control.deploys) == control.num_wakes == 1


async def test_a_ready_model_is_not_started(keeper: VariantKeeper, control: FakeControl) -> None:
    keeper.take(ready())
    assert await keeper.ensure_ready() == ready()
    assert control.deploys == []


async def test_a_deployed_model_at_zero_is_woken_and_not_deployed_again(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    keeper.is_deployed = True
    waiting = await waiters(keeper, 1)
    keeper.take(ready())
    await outcomes(waiting)
    assert (control.deploys, control.num_wakes) == ([], 1)


async def test_a_replica_that_is_ready_before_the_start_has_begun_ends_the_wait(keeper: VariantKeeper) -> None:
    waiting = asyncio.create_task(keeper.ensure_ready())
    await asyncio.sleep(0)
    keeper.take(ready())
    await settle()
    assert waiting.done()
    assert await waiting == ready()


async def test_a_replica_that_is_ready_while_serve_still_deploys_ends_the_wait(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    control.may_deploy.clear()
    waiting = await waiters(keeper, 1)
    keeper.take(ready())
    control.may_deploy.set()
    assert await outcomes(waiting) == [ready()]


async def test_a_waiter_that_leaves_stops_the_start_for_nobody_else(keeper: VariantKeeper) -> None:
    first, second = await waiters(keeper, 2)
    first.cancel()
    await settle()
    keeper.take(ready())
    assert await second == ready()


async def test_when_all_waiters_leave_the_start_goes_on(keeper: VariantKeeper, control: FakeControl) -> None:
    (waiting,) = await waiters(keeper, 1)
    waiting.cancel()
    await settle()
    (later,) = await waiters(keeper, 1)
    keeper.take(ready())
    assert await later == ready()
    assert len(control.deploys) == 1


async def test_a_start_that_takes_too_long_sends_its_waiters_away_and_goes_on(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    lifecycle = keeper.spec.lifecycle.model_copy(update={"cold_start_timeout_s": 0})
    keeper.spec = replace(keeper.spec, lifecycle=lifecycle)
    with pytest.raises(ModelLoading, match="still starting") as caught:
        await keeper.ensure_ready()
    assert caught.value.retry_after_s is not None
    await settle()
    keeper.take(ready())
    await settle()
    assert await keeper.ensure_ready() == ready()
    assert len(control.deploys) == 1


async def test_a_replica_that_leaves_at_once_is_not_handed_out(keeper: VariantKeeper) -> None:
    waiting = await waiters(keeper, 1)
    keeper.take(ready())
    keeper.take(report(state=ReplicaState.GONE, sent_at_s=2.0))
    with pytest.raises(ModelLoading):
        await waiting[0]


async def test_a_suspect_is_forgotten_and_another_replica_taken(keeper: VariantKeeper, control: FakeControl) -> None:
    keeper.take(ready("r1"))
    keeper.take(ready("r2"))
    keeper.forget(["r1"])
    assert (await keeper.ensure_ready()).replica_id == "r2"
    assert list(keeper.replicas) == ["r2"]


async def test_a_suspect_that_was_alone_is_started_anew_and_trusted_once_it_reports(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    keeper.is_deployed = True
    keeper.take(ready("r1"))
    keeper.forget(["r1"])
    waiting = asyncio.create_task(keeper.ensure_ready())
    await settle()
    assert control.num_wakes == 1
    keeper.take(ready("r1", sent_at_s=2.0))
    assert (await waiting).replica_id == "r1"


async def test_a_replica_that_dies_under_the_call_that_wakes_it_is_woken_again(
    keeper: VariantKeeper, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "WAKE_INTERVAL_S", 0)
    control.wake_errors = [RayServeException("gone"), RayActorError()]
    waiting = await waiters(keeper, 1)
    assert control.num_wakes == 3
    keeper.take(ready())
    assert (await waiting[0]).replica_id == "r1"


async def test_a_start_that_cannot_be_asked_for_fails_at_once(keeper: VariantKeeper, control: FakeControl) -> None:
    control.wake_errors = [ValueError("no such node")]
    with pytest.raises(ModelFailed):
        await keeper.ensure_ready()


# Failing


async def test_a_failed_start_fails_its_waiters_at_once(keeper: VariantKeeper, control: FakeControl) -> None:
    waiting = await waiters(keeper, 100)
    keeper.take(failed("the weights are cursed."))
    results = await outcomes(waiting)
    assert {type(error) for error in results} == {ModelFailed}
    assert "could not start: the weights are cursed. It is tried again after 5 s" in str(results[0])
    assert {error.retry_after_s for error in results} == {5.0}


async def test_a_failed_model_is_taken_down_and_left_alone_until_its_backoff_is_over(
    keeper: VariantKeeper, control: FakeControl, clock: Clock
) -> None:
    await failed_start(keeper)
    assert control.deletes == [keeper.spec.app_name]
    clock.now_s += 4.9
    with pytest.raises(ModelFailed, match="out of memory"):
        await keeper.ensure_ready()
    assert len(control.deploys) == 1
    clock.now_s += 0.2
    waiting = await waiters(keeper, 1)
    assert len(control.deploys) == 2
    keeper.take(ready(sent_at_s=2.0))
    assert await outcomes(waiting) == [ready(sent_at_s=2.0)]
    assert keeper.status().last_error == ""


async def test_the_wait_doubles_with_each_failure_and_a_good_start_forgets_it(
    keeper: VariantKeeper, clock: Clock
) -> None:
    waits_s = []
    for _ in range(3):
        error = await failed_start(keeper)
        waits_s.append(error.retry_after_s)
        clock.now_s += 1000
    assert waits_s == [5, 10, 20]
    waiting = await waiters(keeper, 1)
    keeper.take(ready())
    await outcomes(waiting)
    keeper.take(report(state=ReplicaState.GONE))
    assert (await failed_start(keeper)).retry_after_s == 5


async def test_an_application_that_serve_gives_up_fails_with_serves_reason(
    keeper: VariantKeeper, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "STATUS_INTERVAL_S", 0)
    control.given_up = "no node has the GPU"
    with pytest.raises(ModelFailed, match="no node has the GPU"):
        await keeper.ensure_ready()
    await settle()


async def test_a_deployment_that_raises_fails_without_telling_its_insides(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    control.deploy_error = RuntimeError("/root/secret/path exploded")
    with pytest.raises(ModelFailed, match="RuntimeError") as caught:
        await keeper.ensure_ready()
    assert "secret" not in caught.value.message
    assert keeper.status().state is VariantState.FAILED
    await settle()


# Stopping


async def test_a_stop_answers_the_waiters_of_a_start_at_once(keeper: VariantKeeper, control: FakeControl) -> None:
    waiting = await waiters(keeper, 3)
    keeper.stop()
    await settle()
    assert {type(error) for error in await outcomes(waiting)} == {ModelStopped}
    assert control.deletes == [keeper.spec.app_name]
    assert keeper.status().last_error == ""


async def test_a_stop_before_the_start_has_begun_is_not_lost(keeper: VariantKeeper) -> None:
    waiting = asyncio.create_task(keeper.ensure_ready())
    await asyncio.sleep(0)
    keeper.stop()
    await settle()
    await settle()
    assert waiting.done()
    with pytest.raises(ModelStopped):
        await waiting


async def test_a_stopped_model_starts_for_nobody_until_it_is_started_by_hand(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    keeper.stop()
    await settle()
    with pytest.raises(ModelStopped, match="POST /v1/models/demo-chat/start"):
        await keeper.ensure_ready()
    assert keeper.status().state is VariantState.STOPPED
    keeper.allow_start()
    waiting = await waiters(keeper, 1)
    keeper.take(ready())
    assert await outcomes(waiting) == [ready()]


async def test_starting_by_hand_does_not_wait_for_the_backoff(keeper: VariantKeeper, control: FakeControl) -> None:
    await failed_start(keeper)
    keeper.allow_start()
    await waiters(keeper, 1)
    assert len(control.deploys) == 2
    keeper.take(ready())
    await settle()


async def test_a_replica_killed_while_it_started_does_not_haunt_the_status(keeper: VariantKeeper) -> None:
    waiting = await waiters(keeper, 1)
    keeper.take(report(state=ReplicaState.STARTING, step=StartStep.LOADING))
    keeper.stop()
    await settle()
    await outcomes(waiting)
    await settle()
    assert keeper.status().state is VariantState.STOPPED


# Adapters


async def test_an_adapter_is_loaded_once_for_all_who_want_it(keeper: VariantKeeper, control: FakeControl) -> None:
    keeper.take(ready())
    waiting = [asyncio.create_task(keeper.ensure_adapter(adapter())) for _ in range(50)]
    await settle()
    holder = ready("r2", adapters=(adapter().name,))
    control.holder.set_result(holder)
    assert await outcomes(waiting) == [holder] * 50
    assert control.adapter_loads == [adapter().name]
    assert keeper.replicas["r2"] == holder


async def test_a_rejected_adapter_is_told_to_all_who_wanted_it_and_may_be_tried_again(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    keeper.take(ready())
    waiting = [asyncio.create_task(keeper.ensure_adapter(adapter())) for _ in range(3)]
    await settle()
    control.holder.set_exception(AdapterRejected("its rank is 99"))
    assert {type(error) for error in await outcomes(waiting)} == {AdapterRejected}
    with pytest.raises(AdapterRejected):
        await keeper.ensure_adapter(adapter())
    assert len(control.adapter_loads) == 2


async def test_an_adapter_starts_its_cold_model_first(keeper: VariantKeeper, control: FakeControl) -> None:
    waiting = asyncio.create_task(keeper.ensure_adapter(adapter()))
    await settle()
    assert control.adapter_loads == []
    keeper.take(ready())
    await settle()
    assert control.adapter_loads == [adapter().name]
    control.holder.set_result(ready())
    assert await waiting == ready()


# Updating


def changed(spec: VariantSpec) -> VariantSpec:
    return replace(spec, source="models/newer")


async def test_an_equal_spec_touches_nothing(keeper: VariantKeeper, control: FakeControl) -> None:
    keeper.is_deployed = True
    keeper.take(ready())
    await keeper.update(variant())
    assert (control.deploys, control.deletes) == ([], [])


async def test_a_running_model_is_replaced_and_a_cold_one_only_noted(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    await keeper.update(changed(keeper.spec))
    assert control.deploys == []
    keeper.take(ready())
    newest = replace(keeper.spec, source="models/newest")
    await keeper.update(newest)
    assert control.deploys == [newest] == [keeper.spec]


async def test_a_stopped_model_stays_stopped_when_its_spec_changes(keeper: VariantKeeper, control: FakeControl) -> None:
    keeper.is_deployed = True
    keeper.stop()
    await settle()
    keeper.take(report(state=ReplicaState.DRAINING))
    await keeper.update(changed(keeper.spec))
    assert control.deploys == []


async def test_a_changed_model_may_start_although_the_old_one_failed(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    await failed_start(keeper)
    await keeper.update(changed(keeper.spec))
    waiting = await waiters(keeper, 1)
    assert control.deploys[-1].source == "models/newer"
    keeper.take(ready())
    assert await outcomes(waiting) == [ready()]


# Reports and status


async def test_an_older_report_changes_nothing(keeper: VariantKeeper) -> None:
    keeper.take(ready(sent_at_s=5.0, running=3))
    keeper.take(report(state=ReplicaState.STARTING, sent_at_s=4.0))
    assert keeper.replicas["r1"].running == 3


@pytest.mark.parametrize("state", [ReplicaState.GONE, ReplicaState.FAILED])
async def test_a_replica_that_ends_is_forgotten(keeper: VariantKeeper, state: ReplicaState) -> None:
    keeper.take(ready())
    keeper.take(report(state=state, sent_at_s=2.0))
    assert keeper.replicas == {}
    assert keeper.status().state is VariantState.COLD


async def test_a_replica_that_stays_silent_is_forgotten_then_ended(
    keeper: VariantKeeper, control: FakeControl, clock: Clock
) -> None:
    keeper.take(ready("r1", sent_at_s=5.0))
    await keeper.forget_silent(clock.now_s + SILENT_AFTER_S)
    assert set(keeper.replicas) == {"r1"}
    await keeper.forget_silent(clock.now_s + SILENT_AFTER_S + 1)
    assert (keeper.replicas, keeper.status().state, control.ended) == ({}, VariantState.COLD, [])
    for _ in range(2):
        await keeper.forget_silent(clock.now_s + HUNG_AFTER_S + 1)
    assert control.ended == ["r1"]


async def test_decisions_are_read_when_replicas_come_or_go_and_now_and_then(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    woken, idle = ScalingDecision(1.0, 0, 1, "starting"), ScalingDecision(9.0, 1, 0, "idle for 300 s")
    control.made.append(woken)
    await keeper.read_decisions(0.0)
    assert keeper.status().decisions == ()
    keeper.take(ready())
    await keeper.read_decisions(1.0)
    assert keeper.status().decisions == (woken,)
    control.made.append(idle)
    await keeper.read_decisions(2.0)
    assert keeper.status().decisions == (woken,)
    await keeper.read_decisions(2.0 + INTERVAL_S)
    assert keeper.status().decisions == (woken, idle)


async def test_one_that_leaves_the_catalog_leaves_no_decisions(keeper: VariantKeeper, control: FakeControl) -> None:
    control.made.append(ScalingDecision(1.0, 0, 1, "starting"))
    keeper.stop()
    await settle()
    assert control.made
    await keeper.retire()
    assert not control.made


async def test_the_status_follows_a_start_step_by_step(keeper: VariantKeeper, clock: Clock) -> None:
    assert keeper.status().state is VariantState.COLD
    waiting = await waiters(keeper, 1)
    assert (keeper.status().state, keeper.status().step) == (VariantState.SCHEDULING, StartStep.SCHEDULING)
    clock.now_s = 1002.0
    keeper.take(report(state=ReplicaState.STARTING, step=StartStep.LOADING, created_at_s=1002.0))
    assert (keeper.status().state, keeper.status().step) == (VariantState.STARTING, StartStep.LOADING)
    assert keeper.status().since_s == 1002.0
    clock.now_s = 1010.0
    keeper.take(ready(sent_at_s=2.0, created_at_s=1002.0, step_durations_s={StartStep.LOADING: 8.0}))
    await outcomes(waiting)
    status = keeper.status()
    assert (status.state, status.step) == (VariantState.READY, None)
    assert status.last_start is not None
    assert status.last_start.total_s == 10.0
    assert status.last_start.steps_s == {StartStep.SCHEDULING: 2.0, StartStep.LOADING: 8.0}
    assert status.expected_start_s == 10.0


async def test_a_failure_is_shown_with_its_reason_and_its_next_try(keeper: VariantKeeper) -> None:
    await failed_start(keeper, "out of memory")
    status = keeper.status()
    assert (status.state, status.last_error, status.retry_at_s) == (VariantState.FAILED, "out of memory", 1005.0)


async def test_the_reason_of_a_choice_is_announced(keeper: VariantKeeper) -> None:
    keeper.note_choice(Reason.ADDABLE)
    assert keeper.status().chosen_because == "addable"


async def test_a_failure_that_an_update_has_had_forgotten_is_announced(keeper: VariantKeeper) -> None:
    await failed_start(keeper)
    keeper.take(ready())
    await keeper.update(changed(keeper.spec))
    assert keeper.status().last_error == ""


async def test_every_change_is_announced(control: FakeControl, clock: Clock) -> None:
    seen: list[VariantState] = []
    announce: list[Callable[[], None]] = []
    keeper = VariantKeeper(variant(), control, lambda *_: announce[0]())  # type: ignore[arg-type]
    announce.append(lambda: seen.append(keeper.status().state))
    waiting = await waiters(keeper, 1)
    keeper.take(report(state=ReplicaState.STARTING))
    keeper.take(ready(sent_at_s=2.0))
    await outcomes(waiting)
    keeper.stop()
    await settle()
    assert list(dict.fromkeys(seen)) == [
        VariantState.SCHEDULING, VariantState.STARTING, VariantState.READY, VariantState.DRAINING, VariantState.STOPPED,
    ]  # fmt: skip


async def test_a_replica_that_is_heard_of_after_a_stop_does_not_make_its_model_ready(
    keeper: VariantKeeper, control: FakeControl
) -> None:
    """As by a manager that has just begun: the application runs, but no replica has reported yet."""
    keeper.is_deployed = True
    control.may_delete.clear()
    keeper.stop()
    assert keeper.state is VariantState.DRAINING
    keeper.take(ready())
    assert keeper.state is VariantState.DRAINING
    keeper.take(report(state=ReplicaState.GONE, sent_at_s=2.0))
    assert keeper.state is VariantState.DRAINING
    control.may_delete.set()
    await settle()
    assert keeper.state is VariantState.STOPPED
