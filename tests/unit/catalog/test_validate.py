from __future__ import annotations

from pathlib import Path

import pytest

from catalog.project import PROJECT
from catalog.validate import main


def test_a_right_file_gets_one_line_and_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(PROJECT / "serve_config.yaml")]) == 0
    printed = capsys.readouterr()
    assert "listens on 127.0.0.1:8000" in printed.out
    assert printed.err == ""


def test_a_wrong_file_gets_one_line_on_stderr_and_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text("applications: []")
    assert main([str(tmp_path / "x.yaml")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "applications: no entry is named raymux" in printed.err


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_a_wrong_call_gets_the_usage_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")
