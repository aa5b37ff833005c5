from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.loading import ConfigError, ServeConfig, load, parse, require_keys
from catalog.project import PROJECT
from catalog.settings import CatalogSettings, GatewaySettings
from tests.unit.builders import CHAT, EMBEDDER, PIRATE, catalog_dict

GATEWAY_AT = "applications.0.deployments.0.user_config"
MANAGER_AT = "applications.0.deployments.1.user_config"


def document() -> dict[str, Any]:
    return {
        "http_options": {"host": "127.0.0.1", "port": 8000},
        "applications": [
            {
                "name": "raymux",
                "deployments": [
                    {"name": "Gateway", "user_config": {"defaults": {"chat": CHAT, "embeddings": EMBEDDER}}},
                    {"name": "ModelManager", "user_config": catalog_dict()},
                ],
            }
        ],
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """The document with one value changed; the path is the one an error should name."""
    result = copy.deepcopy(document())
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    place: Any = result
    for step in steps:
        if isinstance(place, dict):
            place = place.setdefault(step, {})
        else:
            place = place[step]
    place[last] = value
    return result


def read(tmp_path: Path, content: Any) -> ServeConfig:
    file = tmp_path / "serve.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return load(file)


def test_a_right_file_is_read(tmp_path: Path) -> None:
    config = read(tmp_path, document())
    assert (config.host, config.port) == ("127.0.0.1", 8000)
    assert [model.name for model in config.catalog.models] == [CHAT, EMBEDDER]
    assert config.gateway.defaults.chat == CHAT


@pytest.mark.parametrize(
    "file",
    [PROJECT / "serve_config.yaml", *sorted((PROJECT / "tests" / "configs").glob("*.yaml"))],
    ids=lambda file: file.name,
)
def test_a_configuration_of_this_repository_loads(file: Path) -> None:
    assert load(file).catalog.models


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{MANAGER_AT}.models", []),
        (f"{MANAGER_AT}.models.0.name", "../x"),
        (f"{MANAGER_AT}.models.0.name", 5),
        (f"{MANAGER_AT}.models.0.aliases.0", "a b"),
        (f"{MANAGER_AT}.models.1.source", ""),
        (f"{MANAGER_AT}.models.1.tasks.0", "chat"),
        (f"{MANAGER_AT}.models.0.variants.1.shape", "V100"),
        (f"{MANAGER_AT}.models.0.variants.1.max_replicas", 0),
        (f"{MANAGER_AT}.models.0.variants.1.num_cpus", -1),
        (f"{MANAGER_AT}.models.0.engine.kind", "gguf"),
        (f"{MANAGER_AT}.models.0.engine.emulated.start_s", "soon"),
        (f"{MANAGER_AT}.models.0.engine.colour", 1),
        (f"{MANAGER_AT}.models.0.engine.emulated.colour", 1),
        (f"{MANAGER_AT}.models.0.adapters.max_rank", 9),
        (f"{MANAGER_AT}.models.0.adapters.colour", 1),
        (f"{MANAGER_AT}.models.0.lifecycle.idle_timeout_s", float("nan")),
        (f"{MANAGER_AT}.models.0.colour", 1),
        (f"{MANAGER_AT}.adapters.0.name", "job_pirate"),
        (f"{MANAGER_AT}.checkpoints.0.kind", "half"),
        (f"{MANAGER_AT}.checkpoints.0.colour", 1),
        (f"{MANAGER_AT}.replica_host", "0.0.0.0"),
        (f"{MANAGER_AT}.colour", 1),
        (f"{GATEWAY_AT}.max_body_bytes", 1),
        (f"{GATEWAY_AT}.comment_interval_s", 0),
        (f"{GATEWAY_AT}.defaults.chat", "Demo-Chat"),
        (f"{GATEWAY_AT}.defaults.chat", EMBEDDER),
        (f"{GATEWAY_AT}.defaults.chat", PIRATE),
        (f"{GATEWAY_AT}.defaults.rerank", CHAT),
        (f"{GATEWAY_AT}.defaults.colour", "x"),
        (f"{GATEWAY_AT}.colour", 1),
        ("http_options.host", ""),
        (f"{GATEWAY_AT}.limits.requests_per_minute", 0),
        ("http_options.host", ["127.0.0.1"]),
        ("http_options.port", 0),
        ("http_options.port", 65536),
        ("http_options.port", "8000"),
        ("http_options.port", True),
        ("http_options.port", None),
        ("http_options", [8000]),
        ("applications", None),
        ("applications", []),
        ("applications.0.deployments", {}),
    ],
)
def test_an_error_names_its_place_in_the_yaml(tmp_path: Path, path: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, changed(path, value))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


KEY = {"id": "a", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ([{"id": "a", "sha256": "plain text"}], "user_config.keys.0.sha256: "),
        ([{**KEY, "models": ["de*mo"]}], "user_config.keys.0.models.0: "),
        ([{**KEY, "key": "rmx-secret"}], "user_config.keys.0.key: unknown field"),
        ([KEY, {**KEY, "sha256": "1" * 64}], "user_config: keys: two keys have the same id"),
        ([KEY, {**KEY, "id": "b"}], "user_config: keys: two keys have the same sha256"),
    ],
)
def test_a_bad_key_is_named_by_its_place(tmp_path: Path, keys: list[Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, changed(f"{GATEWAY_AT}.keys", keys))
    assert where in str(caught.value)
    assert "rmx-secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gateway.example"])
def test_without_keys_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(ConfigError, match=r"^http_options\.host: without API keys"):
        require_keys(host, GatewaySettings(), has_environment_keys=False)
    require_keys(host, GatewaySettings(), has_environment_keys=True)
    require_keys(host, GatewaySettings.model_validate({"keys": [KEY]}), has_environment_keys=False)
    require_keys(host, GatewaySettings(allow_unauthenticated=True), has_environment_keys=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_keys(host: str) -> None:
    require_keys(host, GatewaySettings(), has_environment_keys=False)


def test_an_entry_that_is_missing_is_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^applications: no entry is named raymux$"):
        read(tmp_path, changed("applications.0.name", "other"))
    with pytest.raises(ConfigError, match=r"^applications\.0\.deployments: no entry is named ModelManager$"):
        read(tmp_path, changed("applications.0.deployments.1.name", "Manager"))


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (f"{MANAGER_AT}.models.1.name", CHAT, "models.1.name"),
        (f"{MANAGER_AT}.adapters.0.name", "peft:embedder:job", "adapters.0"),
        (f"{MANAGER_AT}.checkpoints.0.name", "rl:nobody:job:c1", "checkpoints.0.name"),
        (f"{MANAGER_AT}.checkpoints.0.name", "rl:demo-chat:job", "checkpoints.0: name"),
        (f"{MANAGER_AT}.models.0.variants.1.shape", "CPU", "models.0: variants"),
        (f"{MANAGER_AT}.models.0.engine.args", {"host": "0.0.0.0"}, "models.0.engine: args"),
        (f"{MANAGER_AT}.models.1.adapters", {}, "models.1: adapters"),
    ],
)
def test_an_error_between_fields_names_them(tmp_path: Path, path: str, value: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, changed(path, value))
    assert str(caught.value).startswith(MANAGER_AT)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("", "models"), ("models.0", "variants"), ("models.0.engine", "max_model_len"),
        ("models.0.engine.emulated", "token_interval_ms"), ("models.0.variants.0", "shape"),
        ("models.0.adapters", "max_rank"), ("models.0.lifecycle", "idle_timeout_s"), ("adapters.0", "source"),
        ("checkpoints.0", "auto_promote"),
    ],
)  # fmt: skip
def test_an_unknown_field_is_answered_with_the_allowed_ones(tmp_path: Path, place: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown field; allowed here: ") as caught:
        read(tmp_path, changed(".".join(filter(None, [MANAGER_AT, place, "colour"])), 1))
    assert allowed in str(caught.value).partition("allowed here: ")[2].split(", ")


def test_further_errors_are_counted() -> None:
    with pytest.raises(ConfigError, match=r"^here\.models\.0\.name: .* \(and 3 more\)$"):
        parse(CatalogSettings, {"models": [{"name": "a b", "source": "", "variants": []}]}, "here")


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "- 1", "just words", "applications: [", "a: b: c", "a: &x [*x, *y]", "? [a]\n: b", "a: 2024-13-01",
        f"a: {'9' * 5000}", "a: \x00", "!!python/object/apply:os.system ['true']", "[" * 1000, "\tapplications:",
    ],
)  # fmt: skip
def test_a_file_that_is_no_serve_configuration_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "serve.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_yaml_error_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"serve\.yaml:3:13: not valid YAML"):
        read(tmp_path, "applications:\n  - {name: raymux\nhttp_options: {}")


def test_a_file_that_is_not_text_or_not_there_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.yaml", "missing.yaml", "."):
        with pytest.raises(ConfigError):
            load(tmp_path / name)
