from __future__ import annotations

import math
from typing import Any

import annotated_types
import pytest
from pydantic import ValidationError

from catalog import settings as _settings  # noqa: F401  its classes join the tree of Settings
from catalog.models import (
    RESERVED_ENGINE_ARGS,
    CheckpointSettings,
    EngineSettings,
    LifecycleSettings,
    ModelSettings,
    Settings,
    VariantSettings,
)


def tree(root: type[Settings]) -> list[type[Settings]]:
    return [cls for child in root.__subclasses__() for cls in (child, *tree(child))]


FIELDS = [pytest.param(cls, name, id=f"{cls.__name__}.{name}") for cls in tree(Settings) for name in cls.model_fields]


def model(**changes: Any) -> ModelSettings:
    fields = {"name": "demo", "source": "models/demo", "variants": [{"shape": "CPU"}]}
    return ModelSettings.model_validate({**fields, **changes})


@pytest.mark.parametrize(("cls", "name"), FIELDS)
def test_every_field_is_described_in_a_sentence(cls: type[Settings], name: str) -> None:
    description = cls.model_fields[name].description
    assert description
    assert description.endswith(".")


@pytest.mark.parametrize(("cls", "name"), FIELDS)
def test_every_number_has_bounds(cls: type[Settings], name: str) -> None:
    field = cls.model_fields[name]
    if field.annotation not in (int, float, int | None, float | None):
        return
    bounds = {type(bound) for bound in field.metadata}
    assert bounds & {annotated_types.Ge, annotated_types.Gt}
    assert bounds & {annotated_types.Le, annotated_types.Lt}


@pytest.mark.parametrize("cls", tree(Settings))
def test_settings_are_frozen_and_refuse_unknown_fields(cls: type[Settings]) -> None:
    assert cls.model_config["frozen"] is True
    assert cls.model_config["extra"] == "forbid"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 0, 10**9, "soon", None])
def test_a_time_out_of_its_range_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        LifecycleSettings(idle_timeout_s=value)


@pytest.mark.parametrize("name", sorted(RESERVED_ENGINE_ARGS))
def test_an_engine_argument_that_raymux_sets_cannot_be_set_twice(name: str) -> None:
    for spelling in (name, name.replace("_", "-")):
        with pytest.raises(ValidationError, match=f"args may not set {name}"):
            EngineSettings(args={spelling: 1})


def test_other_engine_arguments_pass_through() -> None:
    assert EngineSettings(args={"tool_call_parser": "hermes"}).args == {"tool_call_parser": "hermes"}


def test_a_shape_is_kept_in_its_one_spelling() -> None:
    assert VariantSettings(shape="H100:1").shape == "H100"


def test_a_shape_is_listed_once_however_it_is_spelled() -> None:
    with pytest.raises(ValidationError, match="each shape may be listed once"):
        model(variants=[{"shape": "H100"}, {"shape": "H100:1"}])


def test_a_model_either_generates_or_embeds_and_scores() -> None:
    with pytest.raises(ValidationError, match="either generates, or embeds"):
        model(tasks=["generate", "embed"])
    assert model(tasks=["embed", "score"]).tasks == ("embed", "score")


def test_only_a_model_that_generates_serves_adapters() -> None:
    with pytest.raises(ValidationError, match="only a model that generates serves adapters"):
        model(tasks=["embed"], adapters={})


def test_a_model_has_a_variant() -> None:
    with pytest.raises(ValidationError, match="variants"):
        model(variants=[])


def test_a_checkpoint_is_registered_with_its_checkpoint() -> None:
    with pytest.raises(ValidationError, match="expected rl:<base>:<job>:<checkpoint>"):
        CheckpointSettings(name="rl:demo:job", source="x")
