from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidRequest, ModelNotFound, ModelNotPromoted
from router.endpoints import ENDPOINTS, Endpoint
from router.resolve import find, resolve
from tests.unit.builders import CHAT, CHAT_ALIAS, CHECKPOINT, EMBEDDER, HELD_CHECKPOINT, PIRATE, catalog

BY_PATH = {endpoint.path: endpoint for endpoint in ENDPOINTS}
CHAT_ENDPOINT = BY_PATH["/v1/chat/completions"]
EMBEDDINGS = BY_PATH["/v1/embeddings"]


def name_of(name: str | None, *, default: str | None = None, endpoint: Endpoint = CHAT_ENDPOINT, promoted=()) -> str:
    return resolve(catalog(), name, default, endpoint, frozenset(promoted)).name


@pytest.mark.parametrize("name", [CHAT, PIRATE, CHECKPOINT])
def test_a_known_name_leads_to_its_target(name: str) -> None:
    assert name_of(name, default=EMBEDDER) == name


def test_an_alias_leads_to_the_canonical_name() -> None:
    assert name_of(CHAT_ALIAS) == CHAT


def test_no_name_means_the_default_of_the_endpoint() -> None:
    assert name_of(None, default=CHAT) == CHAT


def test_no_name_and_no_default_asks_for_a_model() -> None:
    with pytest.raises(InvalidRequest, match="set `model`") as caught:
        name_of(None)
    assert caught.value.param == "model"


@pytest.mark.parametrize("wanted", ["Demo-Chat", "demo", "demo-chat2", "DEMO-CHAT"])
def test_a_near_miss_is_not_found_and_gets_a_suggestion(wanted: str) -> None:
    with pytest.raises(ModelNotFound, match=r"Did you mean .*demo-chat.* See GET /v1/models\.$"):
        name_of(wanted)


@pytest.mark.parametrize(
    "wanted", ["peft:demo-chat:../../etc/passwd", "../models/demo-chat", "gpt-4", "x" * 100_000, "\ud800", "<script>"]
)
def test_an_unknown_name_is_never_echoed(wanted: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        name_of(wanted)
    assert wanted not in caught.value.message
    assert len(caught.value.message) < 300


@given(wanted=st.text(max_size=30))
def test_only_an_exact_name_resolves(wanted: str) -> None:
    try:
        name_of(wanted, endpoint=BY_PATH["/v1/tokenize"], promoted=[HELD_CHECKPOINT])
    except ModelNotFound:
        assert wanted not in catalog().names
    else:
        assert wanted in catalog().names


@pytest.mark.parametrize(("name", "endpoint", "able"), [(CHAT, EMBEDDINGS, EMBEDDER), (EMBEDDER, CHAT_ENDPOINT, CHAT)])
def test_a_model_that_cannot_do_the_task_names_those_that_can(name: str, endpoint: Endpoint, able: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"does not serve {endpoint.path}.*Models that do: .*{able}"):
        name_of(name, endpoint=endpoint)


def test_every_model_tokenizes() -> None:
    assert {name_of(name, endpoint=BY_PATH["/v1/tokenize"]) for name in (CHAT, EMBEDDER, PIRATE)}


def test_a_checkpoint_that_waits_for_promotion_says_how_to_promote_it() -> None:
    with pytest.raises(ModelNotPromoted, match=rf"POST /v1/models/{HELD_CHECKPOINT}/promote"):
        name_of(HELD_CHECKPOINT)
    assert name_of(HELD_CHECKPOINT, promoted=[HELD_CHECKPOINT]) == HELD_CHECKPOINT


def test_promotion_counts_for_every_name_of_the_checkpoint() -> None:
    short = HELD_CHECKPOINT.removesuffix(":checkpoint-1")
    with pytest.raises(ModelNotPromoted):
        name_of(short)
    assert name_of(short, promoted=[HELD_CHECKPOINT]) == HELD_CHECKPOINT


def test_nothing_near_means_no_suggestion() -> None:
    with pytest.raises(ModelNotFound, match=r"^No model has exactly this name\. See GET /v1/models\.$"):
        find(catalog(), "zzz")
