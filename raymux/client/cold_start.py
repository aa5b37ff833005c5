"""How far the start of a model is, as a client learns it: from comments in a stream, or from the status.

: raymux starting step=loading waited_s=3 expected_s=12
: raymux queued before=4 waited_s=2
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# A request that is answered sooner tells nothing of a start, so that warm models cost no further calls.
LOOK_AFTER_S = 1.0
LOOK_EVERY_S = 1.0

_COMMENT = ": raymux "
_UNDERWAY = ("scheduling", "starting")


@dataclass(frozen=True, slots=True)
class ColdStart:
    """What a request waits for.

    `state` is `scheduling`, `starting`, or `queued` where the model runs but is full; `step` is the step of a start
    (`scheduling`, `importing`, `loading`, `warming_up`). `waited_s` is how long the request has waited, `expected_s`
    how long it should still take by the model's past starts, and `num_before` how many requests are before it in the
    queue; each is None where it is not known.
    """

    state: str
    model: str | None = None
    step: str | None = None
    waited_s: float = 0.0
    expected_s: float | None = None
    num_before: int | None = None

    def __str__(self) -> str:
        what = f"{self.model or 'the model'} is {self.state}"
        if self.step and self.step != self.state:
            what += f" ({self.step.replace('_', ' ')})"
        if self.num_before:
            what += f", {self.num_before} before this one"
        so_far = f", {self.waited_s:.0f} s so far" if self.waited_s >= 1 else ""
        to_go = f", about {self.expected_s:.0f} s to go" if self.expected_s else ""
        return what + so_far + to_go


OnColdStart = Callable[[ColdStart], object]


def in_comment(line: str, model: str | None = None) -> ColdStart | None:
    """What a line of a stream says; None for a line that is no comment of raymux."""
    if not line.startswith(_COMMENT):
        return None
    state, *rest = line.removeprefix(_COMMENT).split()
    fields = dict(part.split("=", 1) for part in rest if "=" in part)
    return ColdStart(
        state=state,
        model=model,
        step=fields.get("step"),
        waited_s=_number(fields.get("waited_s")) or 0.0,
        expected_s=_number(fields.get("expected_s")),
        num_before=int(_number(fields["before"]) or 0) if "before" in fields else None,
    )


def in_status(
    status: Mapping[str, Any], description: Mapping[str, Any] | None, model: str | None, waited_s: float
) -> ColdStart | None:
    """What `GET /v1/status` says of a model that `GET /v1/models/{id}` describes; None when nothing of it starts.

    An adapter starts with its base model. Without a description (the request named no model) any start counts.
    """
    variants = status.get("variants") or ()
    if description is not None:
        of_own = [each for each in variants if each["model"] == description.get("id")]
        variants = of_own or [each for each in variants if each["model"] == description.get("parent")]
        if any(each["state"] == "ready" for each in variants):
            return None
    found = next((each for each in variants if each["state"] in _UNDERWAY), None)
    if found is None:
        return None
    expected_s = found.get("expected_start_s")
    return ColdStart(
        state=found["state"],
        model=model or found["model"],
        step=found.get("step"),
        waited_s=waited_s,
        expected_s=None if expected_s is None else max(0.0, expected_s - waited_s),
    )


def in_warmup(warmup: Mapping[str, Any], waited_s: float) -> ColdStart:
    """What `GET /v1/warmup/{id}` says of a warm-up that has not ended."""
    return ColdStart(
        state=warmup.get("state") or "starting",
        model=warmup.get("model"),
        step=warmup.get("step"),
        waited_s=waited_s,
        expected_s=warmup.get("expected_s"),
    )


class Comments:
    """Reads along with a stream's bytes until its first event, and reports what comments say."""

    def __init__(self, model: str | None, report: OnColdStart) -> None:
        self._model = model
        self._report = report
        self._rest = b""
        self._is_over = False

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes. After the first event there are no comments, and nothing is looked at."""
        if self._is_over:
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._is_over, self._rest = True, b""
                return
            found = in_comment(line.decode("utf-8", "replace").strip(), self._model)
            if found is not None:
                self._report(found)


class Watch:
    """Reports how far a start is while the block runs, from a thread: the block waits for a reply that says nothing.

    `look` fetches the state of things, given the seconds waited; what it raises ends the watch quietly, since the
    request itself will tell what is wrong.
    """

    def __init__(
        self,
        look: Callable[[float], ColdStart | None],
        report: OnColdStart,
        *,
        after_s: float = LOOK_AFTER_S,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._look = look
        self._report = report
        self._after_s = after_s
        self._every_s = every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="raymux-cold-start", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        begun_s = time.monotonic()
        wait_s = self._after_s
        while not self._is_over.wait(wait_s):
            wait_s = self._every_s
            try:
                found = self._look(time.monotonic() - begun_s)
            except Exception:
                return
            if found is not None and not self._is_over.is_set():
                self._report(found)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
