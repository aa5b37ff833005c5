"""The board: what a caller sees, and that only what has changed is told again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autoscaling.cluster import Cluster, Node
from catalog.errors import ModelLoading
from catalog.jobs import Curve
from catalog.keys import ANYBODY, Caller
from catalog.replicas import ReplicaState, StartStep, VariantState
from deployments.gateway.dashboard.board import CLUSTER_INTERVAL_S, MAX_AGE_S, Board, View
from deployments.gateway.gpus import Gpus
from deployments.gateway.models import Models
from tests.unit.builders import CHAT, EMBEDDER, HELD_CHECKPOINT, Clock, catalog_settings, report, settle, status
from tests.unit.deployments.gateway.conftest import GatewayUnderTest
from tests.unit.deployments.gateway.test_fine_tuning import job

CPU = f"{CHAT}@CPU"


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def board(gateway: GatewayUnderTest, clock: Clock) -> Board:
    gateway.manager.answers["cluster"] = Cluster((Node({"GPU": 8, "accelerator_type:H100": 1}, {"GPU": 3}),))
    models, gpus = Models(gateway.fleet, gateway.providers), Gpus(gateway.fleet)
    return Board(gateway.services, models, gpus, clock)


async def test_jobs_are_shown_to_their_tenant_and_asked_for_while_somebody_looks(
    gateway: GatewayUnderTest, board: Board, clock: Clock
) -> None:
    points = ((1, 0.5, None), (2, 0.25, 0.4))
    theirs = job(id="ftjob-2", request=replace(job().request, tenant="other"))
    gateway.manager.answers["fine_tuning"] = [Curve(job(), points), Curve(theirs, ())]
    gateway.manager.configure(catalog_settings(fine_tuning={}))
    await gateway.publish()
    assert not any(call[0] == "fine_tuning" for call in gateway.manager.calls)
    view = View(board, ANYBODY)
    view.changes()
    await settle()
    shown = view.changes()["jobs"]
    assert shown.keys() == {"ftjob-1"}
    assert shown["ftjob-1"]["curve"] == [[1, 0.5, None], [2, 0.25, 0.4]]  # type: ignore[index]
    assert "/secret" not in str(shown)
    assert View(board, Caller(tenant="other")).changes()["jobs"].keys() == {"ftjob-2"}
    later(clock, CLUSTER_INTERVAL_S)
    view.changes()
    await settle()
    assert "jobs" not in view.changes(), "nothing has changed"


def later(clock: Clock, seconds: float = MAX_AGE_S) -> None:
    clock.now_s += seconds


async def variant(gateway: GatewayUnderTest, board: Board, *replicas: Any, **fields: Any) -> dict[str, Any]:
    """The chat model's variant on the CPU, as the board shows it."""
    await gateway.publish(*replicas, variants=[status(**fields)])
    return board.sections()["variants"][CPU].fields


async def test_the_first_look_shows_everything(gateway: GatewayUnderTest, board: Board) -> None:
    seen = View(board, ANYBODY).changes()
    assert CHAT in seen["models"]
    assert {CPU, f"{CHAT}@H100:4", f"{EMBEDDER}@CPU"} <= seen["variants"].keys()


async def test_nothing_is_told_twice(gateway: GatewayUnderTest, board: Board, clock: Clock) -> None:
    await gateway.publish(report("r1"), variants=[status(VariantState.READY, since_s=900.0)])
    view = View(board, ANYBODY)
    view.changes()
    await settle()
    view.changes()
    later(clock)
    await gateway.publish(report("r1", sent_at_s=1.1), variants=[status(VariantState.READY, since_s=900.0)])
    assert view.changes() == {}


async def test_only_what_has_changed_is_told(gateway: GatewayUnderTest, board: Board, clock: Clock) -> None:
    view = View(board, ANYBODY)
    view.changes()
    later(clock)
    await gateway.publish(report("r1", running=2), variants=[status(VariantState.READY)])
    changes = view.changes()
    assert changes["variants"].keys() == {CPU}
    assert changes["models"].keys() >= {CHAT}
    assert EMBEDDER not in changes["models"]
    assert changes["variants"][CPU]["num_running"] == 2  # type: ignore[index]


async def test_looks_at_once_share_one(gateway: GatewayUnderTest, board: Board, clock: Clock) -> None:
    first = board.sections()["variants"]
    later(clock, MAX_AGE_S / 2)
    await gateway.publish(report("r1"), variants=[status(VariantState.READY)])
    assert board.sections()["variants"] is first


async def test_what_left_the_catalog_is_told_as_gone(gateway: GatewayUnderTest, board: Board, clock: Clock) -> None:
    from tests.unit.builders import catalog_dict, catalog_settings

    view = View(board, ANYBODY)
    view.changes()
    gateway.manager.configure(catalog_settings(models=catalog_dict()["models"][:1]))
    later(clock)
    await gateway.publish()
    changes = view.changes()
    assert changes["models"][EMBEDDER] is None
    assert changes["variants"][f"{EMBEDDER}@CPU"] is None
    later(clock)
    assert view.changes() == {}


async def test_a_caller_sees_its_models_only(gateway: GatewayUnderTest, board: Board) -> None:
    seen = View(board, Caller(models=(EMBEDDER,))).changes()
    assert seen["models"].keys() == {EMBEDDER}
    assert seen["variants"].keys() == {f"{EMBEDDER}@CPU"}


async def test_a_start_shows_its_steps_while_it_is_under_way(gateway: GatewayUnderTest, board: Board) -> None:
    starting = report(
        "r1", ReplicaState.STARTING, step=StartStep.LOADING, created_at_s=993.5,
        step_durations_s={StartStep.IMPORTING: 2.0},
    )  # fmt: skip
    entry = await variant(gateway, board, starting, state=VariantState.STARTING, starting_since_s=992.0)
    assert entry["start"] == {
        "begun_at_s": 992.0, "steps_s": {"scheduling": 1.5, "importing": 2.0}, "step": "loading",
        "step_began_at_s": 995.5,
    }  # fmt: skip


async def test_before_its_process_runs_a_start_is_at_scheduling(gateway: GatewayUnderTest, board: Board) -> None:
    entry = await variant(gateway, board, state=VariantState.SCHEDULING, starting_since_s=992.0)
    assert (entry["start"]["step"], entry["start"]["step_began_at_s"]) == ("scheduling", 992.0)


async def test_no_start_no_steps(gateway: GatewayUnderTest, board: Board) -> None:
    assert (await variant(gateway, board, state=VariantState.READY))["start"] is None


async def test_tokens_a_second_come_from_what_replicas_count(
    gateway: GatewayUnderTest, board: Board, clock: Clock
) -> None:
    first = await variant(gateway, board, report("r1", sent_at_s=10.0), state=VariantState.READY)
    assert first["completion_tokens_per_s"] is None
    later(clock)
    counted = report("r1", sent_at_s=12.0, completion_tokens=90)
    second = await variant(gateway, board, counted, state=VariantState.READY)
    assert second["completion_tokens_per_s"] == 45.0


async def test_a_checkpoint_says_that_it_waits_for_its_promotion(
    gateway: GatewayUnderTest, board: Board, clock: Clock
) -> None:
    assert board.sections()["models"][HELD_CHECKPOINT].fields["needs_promotion"]
    later(clock)
    await gateway.publish(promoted=[HELD_CHECKPOINT])
    assert not board.sections()["models"][HELD_CHECKPOINT].fields["needs_promotion"]


async def test_gpus_are_what_the_manager_tells_and_stay_while_it_does_not(
    gateway: GatewayUnderTest, board: Board, clock: Clock
) -> None:
    board.sections()
    await settle()
    h100 = board.sections()["gpus"]["H100"].fields
    assert (h100["total"], h100["free"]) == (8, 3)
    gateway.manager.refusal = ModelLoading("not now")
    later(clock, CLUSTER_INTERVAL_S)
    board.sections()
    await settle()
    assert board.sections()["gpus"]["H100"].fields is h100


async def test_no_address_and_no_secret_is_on_the_board(gateway: GatewayUnderTest, board: Board) -> None:
    await gateway.publish(report("r1", address="10.1.2.3:4567", secret="the-replica-secret"))
    told = str(View(board, ANYBODY).changes())
    assert "the-replica-secret" not in told
    assert "4567" not in told
