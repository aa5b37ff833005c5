from __future__ import annotations

import io

import pytest

from raymux.cli.output import Waiting, print_table
from raymux.client.cold_start import ColdStart


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_changes_and_then_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with Waiting() as waiting:
        waiting.report(ColdStart("scheduling", "m"))
        waiting.report(ColdStart("starting", "m", "loading", 3))
    shown = screen.getvalue()
    assert "m is starting (loading), 3 s so far" in shown
    # The cursor is there again, and the line is not.
    assert "\x1b[?25h" in shown
    assert shown.endswith("\x1b[2K")


def test_a_pipe_gets_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    with Waiting() as waiting:
        for waited_s in (1, 2, 3):
            waiting.report(ColdStart("starting", "m", "loading", waited_s))
        waiting.report(ColdStart("starting", "m", "warming_up", 4))
    assert capsys.readouterr().err.count("\n") == 2


def test_a_table_in_a_pipe_is_neither_cut_nor_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("x" * 300, None), ("[red]y", 3)], "none")
    out = capsys.readouterr().out
    assert "x" * 300 in out
    assert "[red]y" in out
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())
