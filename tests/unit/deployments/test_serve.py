"""`make serve` refuses a configuration that cannot work, in one line, before anything starts."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.loading import load
from catalog.project import PROJECT
from deployments import launch, serve
from tests.unit.catalog.test_fit_check import LARGE


def config(folder: Path, **gateway: Any) -> Path:
    """A configuration with one model of 70 billion parameters on a GPU that is too small."""
    document = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    model = {"name": "large", "source": str(folder), "variants": [{"shape": "L4"}]}
    document["applications"][0]["deployments"] = [
        {"name": "Gateway", "user_config": gateway},
        {"name": "ModelManager", "user_config": {"models": [model]}},
    ]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert serve.main([str(path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_model_that_does_not_fit_is_named_by_its_place_and_by_how_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LARGE))
    told = refusal(config(tmp_path), capsys)
    assert "user_config.models.0.variants.0: " in told
    assert "GiB short" in told


def test_redis_without_its_url_is_told_by_the_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_REDIS_URL", raising=False)
    assert "SOME_REDIS_URL" in refusal(config(tmp_path, redis={"url_env": "SOME_REDIS_URL"}), capsys)


@pytest.mark.parametrize("value", ["", " , ", "whsec_x", "good, whsec_"])
def test_a_receiver_of_webhooks_without_its_secret_is_told_by_place_and_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SOME_HOOK_SECRET", value)
    path = config(tmp_path)
    document = yaml.safe_load(path.read_text())
    hooks = [{"url": "https://example.com/", "secret_env": "SOME_HOOK_SECRET"}]
    document["applications"][0]["deployments"][1]["user_config"]["webhooks"] = hooks
    path.write_text(yaml.safe_dump(document))
    told = refusal(path, capsys)
    assert "user_config.webhooks.0.secret_env: the variable SOME_HOOK_SECRET" in told


def test_a_key_that_is_too_short_is_told_without_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYMUX_API_KEYS", "tiny-key")
    told = refusal(config(tmp_path), capsys)
    assert "RAYMUX_API_KEYS" in told
    assert "tiny-key" not in told


class Started(Exception):
    """`serve run` would run now."""


def test_serve_runs_the_same_configuration_with_its_catalog_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LARGE, "num_hidden_layers": 1}))
    path, commands = config(tmp_path), []
    document = yaml.safe_load(path.read_text())
    document["http_options"]["port"] = 1
    path.write_text(yaml.safe_dump(document))

    def start(command: list[str], **_: Any) -> None:
        commands.append(command)
        raise Started

    monkeypatch.setattr(launch.subprocess, "Popen", start)
    monkeypatch.setattr(launch.signal, "signal", lambda *_: None)
    with pytest.raises(Started):
        serve.main([str(path), "--log", str(tmp_path / "config.log")])
    running = Path(commands[0][-1])
    assert running != path
    assert load(running).catalog == load(path).catalog
    user_config = yaml.safe_load(running.read_text())["applications"][0]["deployments"][1]["user_config"]
    assert set(user_config) == {"packed"}


def test_another_address_without_keys_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAYMUX_API_KEYS", "RAYMUX_ADMIN_KEYS"):
        monkeypatch.delenv(name, raising=False)
    path = config(tmp_path)
    path.write_text(path.read_text().replace("127.0.0.1", "0.0.0.0"))
    assert "without API keys" in refusal(path, capsys)


def test_the_log_goes_to_a_file_or_to_standard_output(tmp_path: Path) -> None:
    assert serve._options(["config.yaml"]).log == PROJECT / "run" / "serve.log"
    assert serve._options(["config.yaml", "--log", "-"]).log is None
    with launch._opened(None) as log:
        assert log is None
    with launch._opened(tmp_path / "serve.log") as log:
        assert log is not None
        assert log.name == str(tmp_path / "serve.log")
    assert launch._running_path(tmp_path / "serve.log") == tmp_path / "serve.log.yaml"
    assert launch._running_path(None) == PROJECT / "run" / "serve.log.yaml"


def test_a_second_signal_does_not_cut_the_clean_up_short() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        launch._on_signals(launch._raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
