from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.builders import CHAT_ALIAS, CHECKPOINT, PIRATE, catalog_dict, catalog_settings

MODELS = catalog_dict()["models"]


def derived(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "source": "models/x", **changes}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"models": [*MODELS, MODELS[1]]}, r"models\.2\.name"),
        ({"models": [*MODELS, MODELS[1] | {"name": CHAT_ALIAS}]}, r"models\.2\.name"),
        ({"models": [*MODELS, MODELS[1] | {"name": "x", "aliases": ["x"]}]}, r"models\.2\.aliases"),
        ({"adapters": [derived(PIRATE), derived(PIRATE)]}, r"adapters\.1\.name"),
        ({"checkpoints": [derived(CHECKPOINT), derived(CHECKPOINT)]}, r"checkpoints\.1\.name"),
        # The same adapter by another name of its base.
        ({"adapters": [derived(PIRATE), derived(PIRATE.replace("demo-chat", CHAT_ALIAS))]}, r"adapters\.1\.name"),
    ],
)  # fmt: skip
def test_a_name_is_taken_once(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError, match=rf"{where}: the name .* is taken already"):
        catalog_settings(**changes)


@pytest.mark.parametrize("room", ["adapters", "checkpoints"])
def test_a_derived_name_needs_its_base(room: str) -> None:
    name = "peft:Demo-Chat:job" if room == "adapters" else "rl:Demo-Chat:job:c1"
    with pytest.raises(ValidationError, match=rf"{room}\.0\.name: no model is named Demo-Chat"):
        catalog_settings(**{room: [derived(name)]})


def test_an_adapter_needs_a_base_that_serves_adapters() -> None:
    for change in (
        {"adapters": [derived("peft:embedder:job")]},
        {"checkpoints": [derived("rl:embedder:job:c1", kind="adapter")]},
    ):
        with pytest.raises(ValidationError, match="has no `adapters:` section"):
            catalog_settings(**change)


def test_a_full_checkpoint_needs_no_adapter_slots() -> None:
    assert catalog_settings(checkpoints=[derived("rl:embedder:job:c1")]).checkpoints[0].kind == "full"


def test_a_catalog_has_a_model() -> None:
    with pytest.raises(ValidationError, match="models"):
        catalog_settings(models=[], adapters=[], checkpoints=[])
