"""Commands that need no server: keys, configurations, processes, the reference page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from catalog.keys import ApiKeySettings
from catalog.project import PROJECT
from raymux.cli import docs
from raymux.cli.commands import processes
from raymux.cli.errors import ExitCode
from router.keys import hash_key
from tests.unit.raymux.cli.conftest import Ran

Cli = Callable[..., Ran]


def test_a_key_is_printed_once_with_the_entry_that_lets_it_in(cli: Cli) -> None:
    ran = cli("keys", "create", "--id", "search", "--model", "peft:m:*", "--admin", "--requests-per-minute", "5")
    key, _, rest = ran.out.partition("\n")
    (entry,) = yaml.safe_load(rest.partition("serve_config.yaml:\n")[2])["keys"]
    settings = ApiKeySettings.model_validate(entry)
    assert settings.sha256 == hash_key(key)
    assert (settings.id, settings.models, settings.admin) == ("search", ("peft:m:*",), True)
    assert ran.out.count(key) == 1
    made = json.loads(cli("keys", "create", "--output", "json").out)
    assert made["entry"]["id"] == f"key-{hash_key(made['key'])[:8]}"


def test_a_field_that_is_not_allowed_is_named(cli: Cli) -> None:
    ran = cli("keys", "create", "--weight", "1000")
    assert (ran.status, ran.out, "weight" in ran.err) == (ExitCode.FAILED, "", True)


def test_a_right_configuration_is_0(cli: Cli) -> None:
    file = str(PROJECT / "serve_config.yaml")
    assert "listens on 127.0.0.1:8000" in cli("validate", file).out
    assert json.loads(cli("validate", file, "-o", "json").out)["valid"] is True


def test_a_wrong_one_is_1_with_its_line(cli: Cli, tmp_path: Path) -> None:
    lines = (PROJECT / "serve_config.yaml").read_text().splitlines()
    number = next(index for index, line in enumerate(lines) if "num_cpus" in line)
    lines[number] = lines[number].replace("num_cpus", "num_cpu")
    file = tmp_path / "wrong.yaml"
    file.write_text("\n".join(lines))
    ran = cli("validate", str(file))
    assert (ran.status, ran.out) == (ExitCode.FAILED, "")
    # The line of the variant, whose field is not known.
    assert ran.err.startswith(f"error: {file}:{number + 1}: ")
    assert "num_cpu" in ran.err
    assert json.loads(cli("validate", str(file), "-o", "json").out)["valid"] is False


def test_an_import_goes_to_stdout_or_to_a_new_file(cli: Cli, tmp_path: Path) -> None:
    source, result = tmp_path / "other.yaml", tmp_path / "serve_config.yaml"
    source.write_text("model_loading_config: {model_id: org/m}\naccelerator_type: L4\nruntime_env: {a: b}\n")
    ran = cli("import", str(source))
    assert ran.err == "warning: org/m: runtime_env is not carried over.\n"
    assert cli("import", str(source), "--to", str(result)).status == 0
    assert result.read_text() == ran.out
    assert cli("import", str(source), "--to", str(result)).status == ExitCode.USAGE


def test_an_import_that_fails_says_why(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "other.yaml"
    assert cli("import", str(source)).status == ExitCode.USAGE
    source.write_text("a: 1")
    ran = cli("import", str(source))
    assert (ran.status, "no configuration of" in ran.err) == (ExitCode.FAILED, True)
    source.write_text("model_loading_config: {model_id: m}")
    ran = cli("import", str(source), "--gpu", "V100")
    assert (ran.status, "the result is not valid: line " in ran.err) == (ExitCode.FAILED, True)


def test_a_server_needs_a_configuration(cli: Cli, tmp_path: Path) -> None:
    assert cli("serve", str(tmp_path / "none.yaml")).status == ExitCode.USAGE


def test_benchmarks_need_a_checkout(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PROJECT", tmp_path)
    ran = cli("bench", "gateway", "--streams", "4")
    assert (ran.status, "checkout" in ran.err) == (ExitCode.FAILED, True)


@pytest.mark.parametrize(
    ("missing", "words"),
    [("cronsim", ["validate", "serve_config.yaml"]), ("ray", ["serve"]), ("cronsim", ["serve"])],
)
def test_what_the_server_extra_brings_is_said_to_be_missing(missing: str, words: list[str]) -> None:
    code = f"import sys\nsys.modules[{missing!r}] = None\nfrom raymux.cli import main\nmain({words!r})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr
    assert f"needs {missing}, which is not installed" in ran.stderr
    assert "raymux[cpu]" in ran.stderr


def test_an_import_without_the_server_extra_is_told_to_be_unchecked(tmp_path: Path) -> None:
    source = tmp_path / "other.yaml"
    source.write_text("model_loading_config: {model_id: m}\naccelerator_type: L4\n")
    code = f"import sys\nsys.modules['cronsim'] = None\nfrom raymux.cli import main\nmain(['import', {str(source)!r}])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (ran.returncode, "name: m" in ran.stdout) == (0, True)
    assert ran.stderr.startswith("warning: the result was not checked: checking a configuration needs cronsim")


def test_the_reference_page_is_what_the_commands_say() -> None:
    assert docs.page() == docs.PAGE.read_text()
