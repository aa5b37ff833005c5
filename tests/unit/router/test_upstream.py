from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidRequest
from catalog.providers import ProviderSettings, Upstream
from router.endpoints import ENDPOINTS
from router.upstream import MAX_BACKOFF_S, Form, backoff_s, outgoing, plan

BY_PATH = {endpoint.path: endpoint for endpoint in ENDPOINTS}


def upstream(name: str = "openai", **fields: Any) -> Upstream:
    models = [{"name": "m", "upstream": "theirs"}]
    provider = ProviderSettings.model_validate({"name": name, "models": models, **fields})
    return Upstream(provider, provider.models[0])


def sent(body: dict[str, Any], path: str = "/v1/chat/completions", **fields: Any) -> dict[str, Any]:
    to = upstream(**fields)
    return json.loads(outgoing(json.dumps(body).encode(), plan(BY_PATH[path], to), to).body)


@pytest.mark.parametrize(
    ("name", "same", "translated"),
    [
        ("openai", ("chat/completions", "completions", "embeddings", "responses"), "messages"),
        ("anthropic", ("messages", "messages/count_tokens"), "chat/completions"),
    ],
)
def test_each_endpoint_goes_to_its_own_or_is_translated_or_refused(name: str, same: tuple[str, ...], translated: str):
    for path, endpoint in BY_PATH.items():
        short = path.removeprefix("/v1/")
        if short in same:
            assert plan(endpoint, upstream(name))[:2] == (f"/{short}", Form.SAME)
        elif short == translated:
            assert plan(endpoint, upstream(name)).form is not Form.SAME
        else:
            with pytest.raises(InvalidRequest):
                plan(endpoint, upstream(name))


def test_only_the_name_of_the_model_changes_and_what_is_raymuxs_own_stays_here():
    body = {"model": "openai/m", "messages": [], "gpu_preference": "auto", "x": 1.0, "text": "ü\u2028"}
    assert sent(body) == {"model": "theirs", "messages": [], "x": 1.0, "text": "ü\u2028"}


def test_a_stream_is_asked_for_its_usage_unless_the_provider_refuses_that():
    body = {"model": "m", "stream": True, "stream_options": {"x": 1}}
    assert sent(body)["stream_options"] == {"x": 1, "include_usage": True}
    assert sent(body, asks_for_usage=False)["stream_options"] == {"x": 1}
    assert "stream_options" not in sent({"model": "m", "stream": True}, path="/v1/responses")
    assert "stream_options" not in sent({"model": "m", "stream": True}, name="anthropic", path="/v1/messages")


@given(num_failed=st.integers(1, 40), asked_s=st.none() | st.floats(0, 100), jitter=st.floats(0, 1))
def test_the_wait_is_bounded_and_never_less_than_was_asked(num_failed: int, asked_s: float | None, jitter: float):
    wait_s = backoff_s(num_failed, asked_s, jitter)
    assert 0.25 <= wait_s <= max(MAX_BACKOFF_S, asked_s or 0)
    assert wait_s >= (asked_s or 0)
