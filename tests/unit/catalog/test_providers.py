from __future__ import annotations

from typing import Any

import pytest

from catalog.providers import ProviderKind, ProviderSettings
from tests.unit.builders import CHAT, catalog, catalog_settings

GPT: dict[str, Any] = {"name": "gpt-4o-mini", "aliases": ["gpt-4o-mini"]}


def provider(**fields: Any) -> ProviderSettings:
    return ProviderSettings.model_validate({"name": "openai", "models": [GPT], **fields})


@pytest.mark.parametrize(
    ("name", "kind", "variable"),
    [
        ("openai", ProviderKind.OPENAI, "OPENAI_API_KEY"),
        ("together", ProviderKind.OPENAI, "TOGETHER_API_KEY"),
        ("anthropic", ProviderKind.ANTHROPIC, "ANTHROPIC_API_KEY"),
    ],
)
def test_those_that_are_well_known_need_a_name_only(name: str, kind: ProviderKind, variable: str):
    known = provider(name=name)
    assert (known.kind, known.api_key_env) == (kind, variable)
    assert known.base_url.startswith("https://")


def test_what_is_known_of_them_may_be_overridden():
    assert provider(base_url="https://proxy.example.com/v1/").base_url == "https://proxy.example.com/v1"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "other"},
        {"name": "other", "base_url": "https://x.example.com"},
        {"name": "a/b"},
        {"base_url": "http://example.com/v1"},
        {"base_url": "ftp://example.com"},
        {"base_url": "file:///etc/passwd"},
        {"base_url": "https://user:pass@example.com"},
        {"base_url": "https://example.com/?a=b"},
        {"base_url": "https://exa mple.com"},
        {"base_url": "https://example.com:99999"},
        {"base_url": "https://"},
        {"api_key_env": "sk-a-key-itself"},
        {"api_key": "sk-a-key-itself"},
        {"models": []},
        {"models": [{"name": "*"}]},
        {"models": "*"},
        {"models": [{"name": "a/b"}]},
        {"models": [{"name": "a", "tasks": ["score"]}]},
        {"name": "anthropic", "models": [{"name": "a", "tasks": ["embed"]}]},
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any]):
    with pytest.raises(ValueError):
        provider(**fields)


@pytest.mark.parametrize("fields", [{"base_url": "http://127.0.0.1:1/v1"}, {"base_url": "http://localhost/v1"}])
def test_http_to_loopback_needs_no_permission(fields: dict[str, Any]):
    assert provider(**fields)


def test_http_elsewhere_is_allowed_where_it_is_wished():
    assert provider(base_url="http://10.0.0.1/v1", allow_plain_http=True)


def test_its_models_have_their_names_and_no_others():
    found = catalog(providers=[{"name": "openai", "models": [GPT]}])
    target = found.find("openai/gpt-4o-mini")
    assert target is not None
    assert found.find("gpt-4o-mini") is target
    assert found.find("openai/gpt-4o") is None
    assert found.find("openai/GPT-4o-mini") is None
    assert (target.kind, target.variants) == ("provider", ())


@pytest.mark.parametrize(
    "models", [[{"name": "a", "aliases": [CHAT]}], [GPT, GPT], [GPT, {"name": "x", "aliases": ["openai/gpt-4o-mini"]}]]
)
def test_names_are_unique_over_the_whole_catalog(models: list[dict[str, Any]]):
    with pytest.raises(ValueError, match="taken already"):
        catalog_settings(providers=[{"name": "openai", "models": models}])


def test_providers_are_unique():
    with pytest.raises(ValueError, match="same name"):
        catalog_settings(providers=[{"name": "openai", "models": [{"name": name}]} for name in "ab"])


def test_nothing_of_a_provider_is_warmed_up_by_the_clock():
    schedule = {"model": "gpt-4o-mini", "cron": "0 8 * * *", "keep_warm_s": 600}
    with pytest.raises(ValueError, match="not started here"):
        catalog_settings(providers=[{"name": "openai", "models": [GPT]}], warmups=[schedule])


def test_adapters_cannot_have_a_base_that_is_a_providers():
    with pytest.raises(ValueError, match="no model is named"):
        catalog_settings(
            providers=[{"name": "openai", "models": [GPT]}],
            adapters=[{"name": "peft:openai/gpt-4o-mini:job", "source": "x"}],
        )


@pytest.mark.parametrize(("fallback", "is_right"), [(CHAT, True), ("embedder", False), ("nobody", False)])
def test_stand_ins_of_a_providers_model_must_do_the_same(fallback: str, is_right: bool):
    providers = [{"name": "openai", "models": [{**GPT, "fallbacks": [fallback]}]}]
    if is_right:
        assert catalog_settings(providers=providers)
    else:
        with pytest.raises(ValueError, match="fallbacks"):
            catalog_settings(providers=providers)
