"""What commands print: JSON, tables, and how far a start is. Rich is imported when there is a table to draw."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from raymux.client.cold_start import ColdStart

if TYPE_CHECKING:
    from rich.status import Status

# Wide enough for every table: where nobody looks at a terminal, nothing is cut or wrapped.
_PIPE_WIDTH = 10_000


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def print_json_line(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows as a table, or `empty` where there are none. None in a cell is nothing."""
    lines = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not lines:
        print(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(width=_PIPE_WIDTH, highlight=False)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)


class Waiting:
    """Shows on stderr what a request waits for: one line that changes on a terminal, else a line for each step."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._last: tuple[str, str | None] | None = None

    def __enter__(self) -> Waiting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def report(self, progress: ColdStart) -> None:
        """Show how far it is."""
        if sys.stderr.isatty():
            self._show(str(progress))
        elif (progress.state, progress.step) != self._last:
            self._last = (progress.state, progress.step)
            print(progress, file=sys.stderr, flush=True)

    def end(self) -> None:
        """The wait is over; the line goes."""
        status, self._status = self._status, None
        if status is not None:
            status.stop()

    def _show(self, line: str) -> None:
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status(line)
            self._status.start()
        else:
            self._status.update(line)


class Progress:
    """Shows on stderr how far something is: a bar on a terminal, else only what is said."""

    def __init__(self, *, is_shown: bool = True) -> None:
        self._is_shown = is_shown
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._is_shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            text = TextColumn("{task.description}", markup=False)
            self._bar = Bar(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), text, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int | None, line: str) -> None:
        """So much of the whole is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, description=line)

    def say(self, line: str) -> None:
        """Say something beside it."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        elif self._is_shown:
            print(line, file=sys.stderr, flush=True)
