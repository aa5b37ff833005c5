from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import (
    CHAT,
    CHAT_ALIAS,
    CHECKPOINT,
    EMBEDDER,
    HELD_CHECKPOINT,
    PIRATE,
    catalog,
    catalog_dict,
    target,
    variant,
)


@pytest.mark.parametrize("name", ["Demo-Chat", "demo", "demo-chat ", "DEMO-CHAT", "acme/demo-1b", "", "peft:demo-chat"])
def test_look_up_is_exact_and_case_sensitive(name: str) -> None:
    assert catalog().find(name) is None


@given(name=st.text(max_size=30))
def test_only_a_listed_name_is_found(name: str) -> None:
    index = catalog()
    assert (index.find(name) is not None) == (name in index.names)


def test_an_alias_leads_to_its_model() -> None:
    index = catalog()
    assert index.find(CHAT_ALIAS) is index.find(CHAT) is not None


def test_an_adapter_answers_under_every_name_of_its_base() -> None:
    index = catalog()
    found = index.find(PIRATE)
    assert found is index.find(f"peft:{CHAT_ALIAS}:job_pirate")
    assert found is not None
    assert found.adapter is not None
    assert found.adapter.names == (PIRATE, f"peft:{CHAT_ALIAS}:job_pirate")
    assert found.base == CHAT


def test_an_adapter_shares_the_variants_of_its_base() -> None:
    assert target(PIRATE).variants == target(CHAT).variants


def test_a_full_checkpoint_is_a_deployment_of_its_own_on_the_shapes_of_its_base() -> None:
    checkpoint, base = target(CHECKPOINT), target(CHAT)
    assert checkpoint.adapter is None
    assert [v.settings for v in checkpoint.variants] == [v.settings for v in base.variants]
    assert not {v.key for v in checkpoint.variants} & {v.key for v in base.variants}
    assert all(v.source == "models/rl/job_demo/checkpoint-1" and v.adapters is None for v in checkpoint.variants)


def test_a_checkpoint_that_is_an_adapter_joins_its_base() -> None:
    entry = {"name": CHECKPOINT, "source": "models/x", "kind": "adapter"}
    found = catalog(checkpoints=[entry]).find(CHECKPOINT)
    assert found is not None
    assert found.kind == "checkpoint"
    assert found.adapter is not None
    assert found.variants == target(CHAT).variants


def test_a_job_without_a_checkpoint_means_the_last_registered_one() -> None:
    entries = [{"name": f"rl:demo-chat:job:c{number}", "source": f"models/c{number}"} for number in (1, 2)]
    index = catalog(checkpoints=entries)
    found = index.find("rl:demo-chat:job")
    assert found is not None
    assert found.name == "rl:demo-chat:job:c2"
    assert index.find(f"rl:{CHAT_ALIAS}:job") is found


def test_two_checkpoints_of_a_job_never_serve_under_the_same_name() -> None:
    entries = [
        {"name": f"rl:demo-chat:job:c{number}", "source": f"models/c{number}", "kind": "adapter"} for number in (1, 2)
    ]
    specs = [t.adapter for t in catalog(checkpoints=entries).targets() if t.kind == "checkpoint"]
    served = [name for spec in specs if spec for name in spec.names]
    assert len(served) == len(set(served))


def test_a_checkpoint_is_promoted_by_itself_unless_told_otherwise() -> None:
    assert target(CHECKPOINT).auto_promote
    assert not target(HELD_CHECKPOINT).auto_promote


def test_targets_come_once_and_in_the_order_of_the_configuration() -> None:
    assert [t.name for t in catalog().targets()] == [CHAT, EMBEDDER, PIRATE, CHECKPOINT, HELD_CHECKPOINT]


def test_variants_are_listed_once_however_many_adapters_share_them() -> None:
    deployed = (CHAT, CHECKPOINT, HELD_CHECKPOINT)
    expected = {f"{name}@{shape}" for name in deployed for shape in ("CPU", "H100:4")} | {f"{EMBEDDER}@CPU"}
    assert set(catalog().variants) == expected


@given(models=st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,80}", fullmatch=True), unique=True, max_size=8))
def test_applications_of_different_variants_have_different_safe_names(models: list[str]) -> None:
    names = [replace(variant(), model=model).app_name for model in models]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"model-[A-Za-z0-9-]+", name) and len(name) < 80 for name in names)


def test_the_fingerprint_changes_exactly_when_a_replica_must_be_replaced() -> None:
    def fingerprint(change: dict) -> str:
        first, *others = catalog_dict()["models"]
        found = catalog(models=[first | change, *others]).find(CHAT)
        assert found is not None
        return found.variants[0].fingerprint

    same = fingerprint({})
    assert fingerprint({}) == same
    assert fingerprint({"source": "models/other"}) != same
    assert fingerprint({"engine": {"kind": "emulated", "max_model_len": 64}}) != same
    assert fingerprint({"lifecycle": {"idle_timeout_s": 9}}) != same
    assert fingerprint({"variants": [{"shape": "CPU"}, {"shape": "A10G"}]}) == same
    cached = catalog(source_cache={"folder": "/elsewhere"}).find(CHAT)
    assert cached is not None
    assert cached.variants[0].fingerprint == same
    assert cached.variants[0].source_cache.folder == "/elsewhere"


def test_adding_a_model_or_an_adapter_changes_no_other_fingerprint() -> None:
    before = catalog().variants
    config = catalog_dict()
    config["models"].append(config["models"][1] | {"name": "another"})
    config["adapters"].append({"name": "peft:demo-chat:job_new", "source": "models/x"})
    after = catalog(**config).variants
    assert {key: spec.fingerprint for key, spec in before.items()} == {key: after[key].fingerprint for key in before}
