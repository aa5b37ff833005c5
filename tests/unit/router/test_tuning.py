from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from catalog.errors import InvalidRequest
from catalog.fine_tuning import Hyperparameters, Method
from router.tuning import MAX_SEED, JobBody, hyperparameters_of, method_of, seed_of


def body(**fields: Any) -> JobBody:
    return JobBody.model_validate({"model": "m", "training_file": "file-1", **fields}, strict=True)


def given(**fields: Any) -> dict[str, Any]:
    return method_of(body(**fields))[1]


def test_both_places_of_hyperparameters_say_the_same() -> None:
    wish = {"n_epochs": 2, "batch_size": "auto"}
    assert given(hyperparameters=wish) == {"n_epochs": 2}
    assert given(method={"type": "supervised", "supervised": {"hyperparameters": wish}}) == {"n_epochs": 2}
    assert given() == given(method={"type": "dpo"}) == given(method={"type": "dpo", "dpo": {}}) == {}


def test_the_method_is_supervised_unless_said_otherwise() -> None:
    assert method_of(body())[0] is Method.SUPERVISED
    assert method_of(body(method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}})) == (
        Method.DPO, {"beta": 0.2},
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"method": {"type": "dpo", "supervised": {}}},
        {"method": {"type": "supervised", "dpo": {}}},
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {}}}, "hyperparameters": {}},
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        method_of(body(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"method": {"type": "reinforcement"}},
        {"suffix": ""},
        {"suffix": "a:b"},
        {"suffix": "../etc"},
        {"suffix": "x" * 65},
        {"seed": -1},
        {"seed": 2**31},
        {"seed": True},
        {"metadata": {"a": 1}},
        {"metadata": {"k" * 65: "v"}},
        {"metadata": {str(number): "v" for number in range(17)}},
        {"integrations": [{"type": "wandb"}]},
        {"colour": "red"},
        {"training_file": ""},
        {"model": 3},
    ],
)
def test_a_body_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        body(**fields)


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"n_epochs": 0}, "hyperparameters.n_epochs"),
        ({"n_epochs": 10**9}, "hyperparameters.n_epochs"),
        ({"n_epochs": "3"}, "hyperparameters.n_epochs"),
        ({"n_epochs": 1.5}, "hyperparameters.n_epochs"),
        ({"batch_size": -1}, "hyperparameters.batch_size"),
        ({"learning_rate_multiplier": 0}, "hyperparameters.learning_rate_multiplier"),
        ({"learning_rate_multiplier": float("inf")}, "hyperparameters.learning_rate_multiplier"),
        ({"lora_rank": 100_000}, "hyperparameters.lora_rank"),
        ({"weights": "none"}, "hyperparameters.weights"),
        ({"beta": 0.1}, "hyperparameters.beta"),
        ({"the secret": 1}, "hyperparameters"),
    ],
)
def test_absurd_hyperparameters_are_refused_by_name(wish: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        hyperparameters_of(Method.SUPERVISED, wish, 8)
    assert caught.value.param == param
    assert "secret" not in caught.value.message


def test_a_rank_that_is_left_to_the_server_is_one_that_is_served() -> None:
    assert hyperparameters_of(Method.SUPERVISED, {}, 8).lora_rank == 8
    assert hyperparameters_of(Method.SUPERVISED, {}, 512).lora_rank == Hyperparameters().lora_rank
    assert hyperparameters_of(Method.SUPERVISED, {"lora_rank": 32}, 8).lora_rank == 32, "the caller is told instead"


def test_a_whole_number_is_a_number() -> None:
    assert hyperparameters_of(Method.DPO, {"learning_rate_multiplier": 2, "beta": 1}, None).beta == 1


def test_a_seed_that_is_not_given_is_random() -> None:
    assert seed_of(body(seed=0)) == 0
    assert 0 <= seed_of(body()) <= MAX_SEED
    assert seed_of(body()) != seed_of(body())
