from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from autoscaling.choice import Choice, Reason
from autoscaling.cluster import Cluster, Node
from catalog.errors import (
    InvalidRequest,
    ModelExists,
    ModelFailed,
    ModelInUse,
    ModelNotFound,
    ModelStopped,
    PermissionDenied,
    RaymuxError,
)
from catalog.loading import ConfigError
from catalog.project import PROJECT
from catalog.replicas import ScalingDecision, VariantState
from deployments.manager import housekeeping
from deployments.manager import keepers as keepers_module
from deployments.manager import manager as manager_module
from deployments.manager import roster as roster_module
from deployments.manager import sender as sender_module
from deployments.manager.manager import ModelManager
from deployments.manager.view import unpacked
from deployments.manager.warmups import scheduled
from deployments.preload.keeper import PoolKeeper
from tests.unit.builders import (
    CHAT,
    CHECKPOINT,
    EMBEDDER,
    HELD_CHECKPOINT,
    PIRATE,
    catalog_dict,
    report,
    settle,
    until,
    variant,
)
from tests.unit.catalog.test_fit_check import LARGE
from tests.unit.deployments.manager.conftest import FakeControl
from tests.unit.deployments.site import Site
from tests.unit.deployments.sources.adapters import FILES, tar


class FakeClusterView:
    """A cluster of one node with 64 CPUs."""

    def __init__(self, launcher_config: str) -> None: ...

    async def look(self) -> Cluster:
        return Cluster((Node({"CPU": 64.0}, {"CPU": 64.0}),))


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> FakeControl:
    control = FakeControl()
    monkeypatch.setattr(manager_module, "ServeControl", lambda: control)
    monkeypatch.setattr(manager_module, "ClusterView", FakeClusterView)
    monkeypatch.setattr(manager_module, "COALESCE_S", 0)
    monkeypatch.setattr(manager_module, "WATCH_TIMEOUT_S", 0)
    monkeypatch.setattr(keepers_module, "HEAR_TIMEOUT_S", 0)
    return control


@pytest.fixture
async def manager(control: FakeControl, tmp_path: Path) -> AsyncIterator[Any]:
    """The class that Serve deploys, without Serve."""
    manager = new_manager(tmp_path)
    yield manager
    tasks = [*manager._background, *(keeper._start for keeper in manager._keepers if keeper._start)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def new_manager(folder: Path) -> Any:
    """A manager with its store in a folder; one made after another takes over from it."""
    manager: Any = ModelManager.func_or_class()
    manager.store_path = str(folder / "raymux.db")
    return manager


async def reconfigure(manager: Any, **changes: Any) -> None:
    await manager.reconfigure({**catalog_dict(), "store": manager.store_path, **changes})
    await settle()


async def test_a_wrong_catalog_is_refused_with_its_place(manager: Any) -> None:
    with pytest.raises(ConfigError, match=r"^ModelManager\.user_config\.models"):
        await manager.reconfigure({"models": []})


async def test_a_packed_catalog_is_the_same(manager: Any) -> None:
    await reconfigure(manager)
    before = await manager.watch(0, 0)
    await manager.reconfigure({"packed": json.dumps({**catalog_dict(), "store": manager.store_path})})
    after = await manager.watch(0, 0)
    assert after.catalog_version > before.catalog_version
    assert unpacked(after.catalog) == unpacked(before.catalog)


async def test_a_later_catalog_that_is_wrong_leaves_the_one_before(manager: Any) -> None:
    """Serve ends a manager that raises, again and again: meanwhile no model could start."""
    await reconfigure(manager)
    before = await manager.watch(0, 0)
    await reconfigure(manager, models=[])
    after = await manager.watch(0, 0)
    assert after.catalog == before.catalog


async def test_replicas_begin_in_the_pool_while_the_catalog_wants_it(
    control: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[str] = []

    def start() -> str:
        started.append("pool")
        return "pool"

    keeper = PoolKeeper(start, started.remove)
    monkeypatch.setattr(manager_module, "PoolKeeper", lambda: keeper)
    manager = new_manager(tmp_path)
    models = [{**each, "engine": {"kind": "vllm"}} for each in catalog_dict()["models"]]
    await reconfigure(manager, models=models)
    assert (control.is_preloaded, started) == (True, ["pool"])
    await reconfigure(manager, models=models, preload=False)
    assert (control.is_preloaded, started) == (False, [])


async def test_a_gateway_gets_the_catalog_once_and_again_when_it_changed(manager: Any) -> None:
    await reconfigure(manager)
    first = await manager.watch(0, 0)
    assert first.catalog is not None
    assert {status.variant for status in first.variants} >= {f"{CHAT}@CPU", f"{EMBEDDER}@CPU"}
    again = await manager.watch(first.version, first.catalog_version)
    assert again.catalog is None
    await reconfigure(manager, adapters=[])
    changed = await manager.watch(again.version, again.catalog_version)
    assert changed.catalog is not None
    assert unpacked(changed.catalog).adapters == ()


async def test_a_watcher_hears_of_a_change_as_soon_as_it_happens(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "WATCH_TIMEOUT_S", 60)
    await reconfigure(manager)
    view = await manager.watch(0, 0)
    watching = asyncio.create_task(manager.watch(view.version, view.catalog_version))
    await settle()
    assert not watching.done()
    await manager.report(report())
    assert (await watching).replicas == (report(),)


async def test_a_watcher_hears_of_what_has_changed_and_of_nothing_else(manager: Any) -> None:
    await reconfigure(manager)
    whole = await manager.watch(0, 0)
    assert whole.is_whole
    await manager.report(report())
    await manager.report(report("r2", running=3))
    news = await manager.watch(whole.version, whole.catalog_version)
    assert not news.is_whole
    assert [status.variant for status in news.variants] == [f"{CHAT}@CPU"]
    assert {replica.replica_id for replica in news.replicas} == {"r1", "r2"}
    assert (news.promoted, news.warmups) == (None, None)
    await manager.promote(HELD_CHECKPOINT)
    assert (await manager.watch(news.version, news.catalog_version)).promoted == {HELD_CHECKPOINT}


async def test_a_report_of_a_variant_that_left_is_ignored(manager: Any) -> None:
    await reconfigure(manager)
    await manager.report(report(variant="nobody@CPU"))
    assert (await manager.watch(0, 0)).replicas == ()


async def test_an_expected_failure_is_returned_since_ray_wraps_what_is_raised(manager: Any) -> None:
    await reconfigure(manager)
    assert isinstance(await manager.ensure(("nobody@CPU",)), ModelNotFound)
    await manager.stop(CHAT)
    await settle()
    assert isinstance(await manager.ensure((f"{CHAT}@CPU",)), ModelStopped)


async def test_a_ready_replica_is_handed_out(manager: Any) -> None:
    await reconfigure(manager)
    await manager.report(report())
    found = await manager.ensure((f"{CHAT}@CPU",))
    assert found[:2] == (report(), Reason.WARM)


async def test_a_new_manager_adopts_what_runs_and_removes_what_nobody_knows(manager: Any, control: FakeControl) -> None:
    control.apps = {variant().app_name, "model-orphan-00000000"}
    await reconfigure(manager)
    assert control.apps == {variant().app_name}


async def test_a_model_that_leaves_the_catalog_is_removed_and_others_stay(manager: Any, control: FakeControl) -> None:
    control.apps = {variant().app_name, variant(EMBEDDER).app_name}
    await reconfigure(manager)
    await reconfigure(manager, models=catalog_dict()["models"][:1])
    assert control.apps == {variant().app_name}
    assert isinstance(await manager.ensure((f"{EMBEDDER}@CPU",)), ModelNotFound)


async def test_adding_a_model_restarts_nothing(manager: Any, control: FakeControl) -> None:
    await reconfigure(manager)
    models = catalog_dict()["models"]
    await reconfigure(manager, models=[*models, models[1] | {"name": "another"}])
    assert control.apps == set()
    assert "another@CPU" in {status.variant for status in (await manager.watch(0, 0)).variants}


async def test_promotion_is_for_checkpoints_and_starts_them(manager: Any, control: FakeControl) -> None:
    await reconfigure(manager)
    assert isinstance(await manager.promote("nobody"), ModelNotFound)
    assert isinstance(await manager.promote(CHAT), InvalidRequest)
    assert isinstance(await manager.promote(PIRATE), InvalidRequest)
    assert await manager.promote(HELD_CHECKPOINT) is None
    await settle()
    assert (await manager.watch(0, 0)).promoted == {HELD_CHECKPOINT}
    assert control.apps == {variant(HELD_CHECKPOINT).app_name}


async def test_an_adapter_is_not_stopped_by_itself(manager: Any) -> None:
    await reconfigure(manager)
    error = await manager.stop(PIRATE)
    assert isinstance(error, InvalidRequest)
    assert CHAT in error.message


async def test_stop_and_start_are_for_every_variant_of_a_model(manager: Any) -> None:
    await reconfigure(manager)
    assert await manager.stop(CHECKPOINT) is None
    await settle()
    states = {status.variant: status.state for status in (await manager.watch(0, 0)).variants}
    assert states[f"{CHECKPOINT}@CPU"] is states[f"{CHECKPOINT}@H100:4"] is VariantState.STOPPED
    assert states[f"{CHAT}@CPU"] is VariantState.COLD
    assert await manager.start(CHECKPOINT) is None
    await settle()
    states = {status.variant: status.state for status in (await manager.watch(0, 0)).variants}
    assert states[f"{CHECKPOINT}@CPU"] is VariantState.SCHEDULING
    assert states[f"{CHECKPOINT}@H100:4"] is VariantState.COLD
    assert isinstance(await manager.start("nobody"), ModelNotFound)
    assert isinstance(await manager.stop("nobody"), ModelNotFound)


async def test_a_new_manager_tells_of_no_fleet_before_what_runs_has_reported(
    manager: Any, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers_module, "HEAR_TIMEOUT_S", 60)
    monkeypatch.setattr(keepers_module, "HEAR_POLL_S", 0)
    control.apps = {variant().app_name}
    await reconfigure(manager)
    watching = asyncio.create_task(manager.watch(0, 0))
    await settle()
    assert not watching.done()
    await manager.report(report())
    assert (await watching).replicas == (report(),)


async def test_a_new_manager_stops_nothing_before_it_knows_whose_requests_run(
    manager: Any, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers_module, "HEAR_TIMEOUT_S", 60)
    monkeypatch.setattr(keepers_module, "HEAR_POLL_S", 0)
    control.apps = {variant().app_name}
    await reconfigure(manager)
    stopping = asyncio.create_task(manager.stop(CHAT))
    await settle()
    assert not stopping.done()
    await manager.report(report(running=1))
    assert isinstance(await stopping, ModelInUse)


# What is registered, promoted, stopped and kept warm at run time

NEW_ADAPTER = {"name": "peft:demo-chat:job_new", "source": "models/adapters/job_formal"}
NEW_BASE = {
    "name": "new-model",
    "source": "models/demo-chat",
    "variants": [{"shape": "CPU"}],
    "engine": {"kind": "emulated"},
    "adapters": {},
}


async def names(manager: Any) -> set[str]:
    view = await manager.watch(0, 0)
    assert view.catalog is not None
    settings = unpacked(view.catalog)
    return {entry.name for entry in (*settings.models, *settings.adapters, *settings.checkpoints)}


async def with_sources(manager: Any, **changes: Any) -> None:
    await reconfigure(manager, runtime_sources=["models"], **changes)


async def test_a_registered_model_is_served_and_restarts_nothing(manager: Any, control: FakeControl) -> None:
    await with_sources(manager)
    await manager.report(report())
    assert await manager.register(NEW_BASE) == "new-model"
    assert await manager.register({**NEW_ADAPTER, "name": "peft:new-model:job"}) == "peft:new-model:job"
    await settle()
    assert {"new-model", "peft:new-model:job"} <= await names(manager)
    assert control.apps == set()
    assert (await manager.ensure((f"{CHAT}@CPU",)))[:2] == (report(), Reason.WARM)


async def test_what_is_registered_survives_the_manager(manager: Any, tmp_path: Path) -> None:
    await with_sources(manager)
    await manager.register(NEW_ADAPTER)
    await manager.promote(HELD_CHECKPOINT)
    await manager.stop(EMBEDDER)
    heir = new_manager(tmp_path)
    await with_sources(heir)
    assert NEW_ADAPTER["name"] in await names(heir)
    view = await heir.watch(0, 0)
    assert view.promoted == {HELD_CHECKPOINT}
    assert {s.variant: s.state for s in view.variants}[f"{EMBEDDER}@CPU"] is VariantState.STOPPED
    assert isinstance(await heir.ensure((f"{EMBEDDER}@CPU",)), ModelStopped)
    await heir.start(EMBEDDER)
    await heir.deregister(NEW_ADAPTER["name"])
    last = new_manager(tmp_path)
    await with_sources(last)
    assert NEW_ADAPTER["name"] not in await names(last)
    states = {s.variant: s.state for s in (await last.watch(0, 0)).variants}
    assert states[f"{EMBEDDER}@CPU"] is VariantState.COLD


async def test_the_same_entry_twice_is_one_and_another_of_its_name_is_refused(manager: Any) -> None:
    await with_sources(manager)
    assert await manager.register(NEW_ADAPTER) == await manager.register(NEW_ADAPTER)
    other = await manager.register({**NEW_ADAPTER, "source": "models/adapters/job_pirate"})
    assert isinstance(other, ModelExists)
    assert isinstance(await manager.register({**NEW_ADAPTER, "name": PIRATE}), ModelExists)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("/etc", PermissionDenied),
        ("models/../catalog", PermissionDenied),
        ("models/nothing-there", PermissionDenied),
        ("Qwen/Qwen3-0.6B", PermissionDenied),
        ("models/demo-chat", InvalidRequest),
    ],
)
async def test_a_source_elsewhere_or_without_whole_files_is_refused(manager: Any, source: str, error: type) -> None:
    await with_sources(manager)
    before = await names(manager)
    refusal = await manager.register({**NEW_ADAPTER, "source": source})
    assert type(refusal) is error
    assert await names(manager) == before


async def test_an_adapter_from_elsewhere_is_fetched_before_it_is_registered(
    manager: Any, tmp_path: Path, site: Site
) -> None:
    site.answers["/adapters/job.tar.gz"] = 200, {}, tar()
    places = [f"{site.url}/adapters/"]
    await reconfigure(manager, runtime_sources=places, source_cache={"folder": str(tmp_path / "cache")})
    entry = {**NEW_ADAPTER, "source": f"{site.url}/adapters/job.tar.gz"}
    assert await manager.register(entry) == entry["name"]
    assert await manager.register(entry) == entry["name"]
    assert site.asked == ["/adapters/job.tar.gz"]
    assert entry["name"] in await names(manager)


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("/elsewhere/job.tar.gz", PermissionDenied, "source must be in a place"),
        ("/adapters-too/job.tar.gz", PermissionDenied, "source must be in a place"),
        ("/adapters/../elsewhere/job.tar.gz", InvalidRequest, "source: the URL's path"),
        ("/adapters/nothing.tar.gz", InvalidRequest, "source: its server answered 404"),
        ("/adapters/model.tar.gz", InvalidRequest, "source: adapter_config.json is missing"),
        ("/adapters/ill.tar.gz", ModelFailed, "its server answered 503"),
    ],
)
async def test_an_adapter_that_may_not_or_cannot_be_fetched_is_not_registered(
    manager: Any, tmp_path: Path, site: Site, path: str, error: type[RaymuxError], said: str
) -> None:
    site.answers["/adapters/ill.tar.gz"] = 503, {}, b""
    weights = FILES["adapter_model.safetensors"]
    site.answers["/adapters/model.tar.gz"] = 200, {}, tar({"config.json": b"{}", "model.safetensors": weights})
    places = [f"{site.url}/adapters"]
    await reconfigure(manager, runtime_sources=places, source_cache={"folder": str(tmp_path / "cache")})
    before = await names(manager)
    refusal = await manager.register({**NEW_ADAPTER, "source": f"{site.url}{path}"})
    assert type(refusal) is error
    assert said in refusal.message
    assert await names(manager) == before
    assert not [asked for asked in site.asked if not asked.startswith("/adapters/")]


async def test_a_model_from_elsewhere_is_not_fetched_to_the_managers_node(manager: Any, site: Site) -> None:
    await reconfigure(manager, runtime_sources=[site.url])
    assert await manager.register({**NEW_BASE, "source": f"{site.url}/model.tar.gz"}) == NEW_BASE["name"]
    assert site.asked == []


async def test_a_link_does_not_lead_out_of_the_allowed_folders(manager: Any, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(PROJECT / "models/adapters/job_formal")
    await reconfigure(manager, runtime_sources=[str(allowed)])
    refusal = await manager.register({**NEW_ADAPTER, "source": str(allowed / "link")})
    assert isinstance(refusal, PermissionDenied)


async def test_a_model_that_its_variant_cannot_hold_is_refused_by_how_much(manager: Any, tmp_path: Path) -> None:
    """Small weights, but the KV cache of 80 layers at a long context."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LARGE))
    save_file({"lm_head.weight": np.zeros((8, 128), np.float32)}, folder / "model.safetensors")
    await reconfigure(manager, runtime_sources=[str(tmp_path)])
    variants = [{"shape": "H100:4"}, {"shape": "T4"}]
    fields = {"name": "large", "source": str(folder), "engine": {"max_model_len": 131_072}}
    refusal = await manager.register({**fields, "variants": variants})
    assert isinstance(refusal, InvalidRequest)
    assert refusal.param == "variants.1"
    assert "GiB short" in refusal.message
    assert await manager.register({**fields, "variants": variants[:1]}) == "large"


async def test_without_allowed_folders_nothing_can_be_registered(manager: Any) -> None:
    await reconfigure(manager)
    refusal = await manager.register(NEW_ADAPTER)
    assert isinstance(refusal, PermissionDenied)
    assert "runtime_sources" in refusal.message


async def test_what_the_configuration_names_is_not_dropped_by_request(manager: Any) -> None:
    await with_sources(manager)
    assert isinstance(await manager.deregister(PIRATE), InvalidRequest)
    assert isinstance(await manager.deregister("nobody"), ModelNotFound)


async def test_a_base_stays_while_an_adapter_needs_it(manager: Any) -> None:
    await with_sources(manager)
    await manager.register(NEW_BASE)
    await manager.register({**NEW_ADAPTER, "name": "peft:new-model:job"})
    refusal = await manager.deregister("new-model")
    assert isinstance(refusal, ModelInUse)
    assert "peft:new-model:job" in refusal.message
    assert await manager.deregister("peft:new-model:job") is None
    assert await manager.deregister("new-model") is None


async def test_what_requests_use_is_not_dropped(manager: Any) -> None:
    await with_sources(manager)
    await manager.register(NEW_BASE)
    await manager.register(NEW_ADAPTER)
    await manager.report(report("r2", variant="new-model@CPU", running=1))
    await manager.report(report("r1", busy_adapters=(NEW_ADAPTER["name"],)))
    assert isinstance(await manager.deregister("new-model"), ModelInUse)
    assert isinstance(await manager.deregister(NEW_ADAPTER["name"]), ModelInUse)
    await manager.report(report("r2", variant="new-model@CPU", sent_at_s=2.0))
    await manager.report(report("r1", sent_at_s=2.0))
    assert await manager.deregister("new-model") is None
    assert await manager.deregister(NEW_ADAPTER["name"]) is None


async def test_a_model_is_stopped_under_its_requests_only_if_asked_to_drain(manager: Any) -> None:
    await reconfigure(manager)
    await manager.report(report(running=2, waiting=1))
    refusal = await manager.stop(CHAT)
    assert isinstance(refusal, ModelInUse)
    assert refusal.message.startswith("3 requests")
    assert (await manager.ensure((f"{CHAT}@CPU",)))[:2] == (report(running=2, waiting=1), Reason.WARM)
    assert await manager.stop(CHAT, drain=True) is None
    assert isinstance(await manager.ensure((f"{CHAT}@CPU",)), ModelStopped)


async def test_a_warm_model_is_held_until_its_warmup_ends_or_it_is_stopped(manager: Any) -> None:
    await reconfigure(manager)
    assert (await manager.report(report())).held_until_s == 0
    warmup = await manager.warm_up(CHAT, (f"{CHAT}@CPU",), 60, wait=True)
    assert warmup.keep_until_s is not None
    assert (await manager.report(report())).held_until_s == warmup.keep_until_s
    assert isinstance(await manager.deregister(CHAT), ModelInUse)
    assert await manager.stop(CHAT) is None
    assert (await manager.report(report())).held_until_s == 0
    assert isinstance(await manager.warm_up(CHAT, (f"{CHAT}@CPU",), 60, wait=False), ModelStopped)


async def test_house_is_kept_while_decisions_cannot_be_read(
    manager: Any, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def hang(app_name: str) -> tuple[ScalingDecision, ...]:
        asked.set()
        return await asyncio.Future()

    monkeypatch.setattr(control, "decisions", hang)
    monkeypatch.setattr(housekeeping, "INTERVAL_S", 0)
    await reconfigure(manager)
    await manager.report(report(sent_at_s=time.time()))
    await until(asked.is_set)
    silent = f"{CHAT}@H100:4"
    monkeypatch.setattr(roster_module, "SILENT_AFTER_S", -1)
    await manager.report(report("r2", variant=silent))
    await until(lambda: not manager._keepers.find(silent).replicas)


@pytest.mark.parametrize(("in_order", "taken"), [(True, "H100:4"), (False, "CPU")])
async def test_a_list_of_shapes_is_tried_in_its_order_and_auto_takes_what_is_warm(
    manager: Any, monkeypatch: pytest.MonkeyPatch, in_order: bool, taken: str
) -> None:
    await reconfigure(manager)
    await manager.report(report())
    asked: list[tuple[tuple[str, ...], bool]] = []

    async def choose(keys: tuple[str, ...], *, in_order: bool = False) -> Choice:
        asked.append((keys, in_order))
        return Choice(keys[0] if in_order else f"{CHAT}@CPU", Reason.WARM)

    monkeypatch.setattr(manager._keepers, "choose", choose)
    await manager.report(report("r2", variant=f"{CHAT}@H100:4"))
    wanted = (f"{CHAT}@H100:4", f"{CHAT}@CPU")
    warmup = await manager.warm_up(CHAT, wanted, 60, wait=True, in_order=in_order)
    assert asked == [(wanted, in_order)]
    assert warmup.variant == f"{CHAT}@{taken}"


@pytest.mark.parametrize(
    ("shapes", "variants", "in_order"),
    [(["H100:4", "CPU"], ("H100:4", "CPU"), True), ([], ("CPU", "H100:4"), False)],
)
async def test_a_schedule_heeds_its_order_and_without_one_is_free_to_choose(
    manager: Any, shapes: list[str], variants: tuple[str, ...], in_order: bool
) -> None:
    schedule = {"model": CHAT, "cron": "* * * * *", "keep_warm_s": 60, "gpu_preference": shapes}
    await reconfigure(manager, warmups=[schedule])
    (warmup,) = scheduled(manager._catalog, 1_000_000_000.0)
    assert warmup.variants == tuple(f"{CHAT}@{shape}" for shape in variants)
    assert warmup.is_in_order is in_order


async def test_a_model_kept_warm_stays_so_across_a_restart_of_the_manager(manager: Any, tmp_path: Path) -> None:
    await reconfigure(manager)
    await manager.report(report())
    warmup = await manager.warm_up(CHAT, (f"{CHAT}@CPU",), 60, wait=True)
    heir = new_manager(tmp_path)
    await reconfigure(heir)
    assert (await heir.report(report())).held_until_s == warmup.keep_until_s


async def test_nothing_of_a_provider_is_started_stopped_promoted_warmed_up_or_removed(manager: Any) -> None:
    await reconfigure(manager, providers=[{"name": "openai", "models": [{"name": "gpt", "aliases": ["gpt"]}]}])
    for name in ("openai/gpt", "gpt"):
        calls = (manager.start, manager.stop, manager.promote, manager.deregister)
        outcomes = [await call(name) for call in calls] + [await manager.warm_up(name, (), 60, wait=False)]
        assert all(isinstance(outcome, InvalidRequest) for outcome in outcomes)
    manager._housekeeping.prewarm(0.0)


async def test_receivers_of_webhooks_are_told_once_also_by_the_next_manager(
    manager: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class FakeSender:
        async def __call__(self, receiver: Any, entry: Any) -> None:
            sent.append(f"{entry.type} {receiver.url}")

    monkeypatch.setattr(sender_module, "Sender", FakeSender)
    hooks = {"webhooks": [{"url": "https://example.com/", "secret_env": "S"}]}
    await reconfigure(manager, **hooks)
    await manager.report(report())
    await manager._notices.step()
    # Which is noted, on a thread of the store's, after it was sent.
    await until(lambda: [entry.outcome for entry in manager._notices.entries()] == ["done"])
    assert len(await manager.events(are_sent=True)) == 1
    heir = new_manager(tmp_path)
    await reconfigure(heir, **hooks)
    await heir.report(report())
    await heir._notices.step()
    await settle()
    assert sent == ["model.ready https://example.com/"]
    for task in heir._background:
        task.cancel()
