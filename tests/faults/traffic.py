"""Clients that send without a pause while something breaks, and check every word of what they get."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp

from deployments.engine.emulator import WORDS
from tests.faults.processes import Footprint, footprint
from tests.integration.calls import body
from tests.server import RunningServer, wait_until

TIMEOUT_S = 120
# As a client does that was refused.
PAUSE_AFTER_FAILURE_S = 0.25
CALM_S = 1.5
ERROR_FIELDS = {"message", "type", "param", "code", "request_id"}

# Whether a text is right so far, and whether it is whole.
Check = Callable[[str, int], tuple[bool, bool]]


class Outcome(StrEnum):
    """How a request ended; `refused` is before the first byte of its answer, `broken` after it."""

    WHOLE = "whole"
    REFUSED = "refused"
    BROKEN = "broken"


class Result(NamedTuple):
    """One request. `why` is the error's code, or what became of the connection; `wrong` is what must never be."""

    outcome: Outcome
    begun_s: float
    ended_s: float
    first_byte_s: float | None = None
    why: str = ""
    wrong: str = ""


def counted(text: str, num_tokens: int) -> tuple[bool, bool]:
    """The emulated engine's words: none lost, doubled or out of order, and as many as were asked for."""
    words = text.split()
    return words == [WORDS[index % len(WORDS)] for index in range(len(words))], len(words) == num_tokens


class Traffic:
    """A context manager: `num_clients` clients, each of which sends again as soon as it has its answer.

    Every second client streams. `num_long` more clients send streams of `long_tokens`; those that run when the traffic
    ends are left, and do not count. `fields` go into each body.
    """

    def __init__(
        self,
        server: RunningServer,
        model: str,
        *,
        num_clients: int = 8,
        num_tokens: int = 40,
        num_long: int = 0,
        long_tokens: int = 0,
        fields: Callable[[], dict[str, Any]] = dict,
        check: Check = counted,
    ) -> None:
        self._server = server
        self._url = f"{server.url}/v1/chat/completions"
        self._model, self._headers = model, server.headers
        self._num_clients, self._num_tokens = num_clients, num_tokens
        self._num_long, self._long_tokens = num_long, long_tokens
        self._fields, self._check = fields, check
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=f"traffic to {model}")
        self.results: list[Result] = []
        self.num_sent = 0
        self.fault_s = 0.0
        self._before: Footprint | None = None

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._has_ended.set()
        self._thread.join()
        if error is not None:
            error.add_note(f"the traffic to {self._model}: {self}")
        elif self._before is not None:
            self._before.require_flat(self._server)

    def __str__(self) -> str:
        why = Counter(f"{each.outcome}: {each.why}" for each in self.failures)
        return f"{self.num_sent} sent, {len(self.whole)} whole, {dict(why)}, wrong: {self.wrong[:5]}"

    # What a test does with it

    def warm(self) -> Traffic:
        """Wait until every client has had answers."""
        self.wait_whole(2 * self._num_clients)
        return self

    def wait_whole(self, number: int, timeout_s: float = 60) -> None:
        """Wait for so many more whole answers."""
        enough = len(self.whole) + number
        wait_until(lambda: len(self.whole) >= enough, timeout_s, f"{number} more whole answers: {self}")

    def note_fault(self) -> None:
        """The fault is now. When the traffic has ended, the server's processes must be as small as they are now."""
        self._before = footprint(self._server)
        self.fault_s = time.monotonic()

    def recover(self, timeout_s: float = 60, calm_s: float = CALM_S) -> None:
        """Wait until nothing has failed for `calm_s`, in which requests were answered that began after the fault."""

        def is_calm() -> bool:
            since_s = max(time.monotonic() - calm_s, self.fault_s)
            if time.monotonic() - self.fault_s < calm_s or any(each.ended_s > since_s for each in self.failures):
                return False
            return sum(each.begun_s > self.fault_s and each.ended_s > since_s for each in self.whole) > 1

        wait_until(is_calm, timeout_s, f"calm: {self}")

    # What came of it

    def _of(self, *outcomes: Outcome) -> list[Result]:
        return [each for each in tuple(self.results) if each.outcome in outcomes]

    @property
    def whole(self) -> list[Result]:
        return self._of(Outcome.WHOLE)

    @property
    def refused(self) -> list[Result]:
        return self._of(Outcome.REFUSED)

    @property
    def broken(self) -> list[Result]:
        return self._of(Outcome.BROKEN)

    @property
    def failures(self) -> list[Result]:
        return self._of(Outcome.REFUSED, Outcome.BROKEN)

    @property
    def wrong(self) -> list[str]:
        """What must never be: words lost, doubled or out of order; a stream that ended in silence, or twice."""
        return [each.wrong for each in tuple(self.results) if each.wrong]

    @property
    def recovery_s(self) -> float:
        """From the fault to the next whole answer after the last failure; 0 where nothing failed after it."""
        last_s = max((each.ended_s for each in self.failures if each.ended_s > self.fault_s), default=None)
        if last_s is None:
            return 0.0
        return min(each.ended_s for each in self.whole if each.ended_s > last_s) - self.fault_s

    @property
    def slowest_first_byte_s(self) -> float:
        """The longest wait for an answer to begin, of those that did and ended after the fault."""
        return max((each.first_byte_s or 0.0 for each in self.results if each.ended_s > self.fault_s), default=0.0)

    # The clients

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        # A connection each, as many clients have: what is kept alive would be sent again by the library.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers) as session:
            clients = [self._client(session, index % 2 == 0, self._num_tokens) for index in range(self._num_clients)]
            long = [self._client(session, True, self._long_tokens) for _ in range(self._num_long)]
            streaming = asyncio.gather(*long)
            await asyncio.gather(*clients)
            streaming.cancel()
            await asyncio.gather(streaming, return_exceptions=True)

    async def _client(self, session: aiohttp.ClientSession, is_stream: bool, num_tokens: int) -> None:
        while not self._has_ended.is_set():
            self.num_sent += 1
            try:
                result = await self._one(session, is_stream, num_tokens)
            except asyncio.CancelledError:
                self.num_sent -= 1
                raise
            self.results.append(result)
            if result.outcome is not Outcome.WHOLE:
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)

    async def _one(self, session: aiohttp.ClientSession, is_stream: bool, num_tokens: int) -> Result:
        request = body(self._model, num_tokens, stream=is_stream, **self._fields())
        answer = _Answer(self._check, num_tokens)
        try:
            async with session.post(self._url, json=request) as reply:
                if reply.status != 200:
                    return answer.refused(await reply.read())
                if not is_stream:
                    return answer.at_once(await reply.read())
                async for line in reply.content:
                    answer.take(line.decode().strip())
            return answer.streamed()
        except TimeoutError:
            return answer.cut("no end")
        except aiohttp.ClientError as error:
            return answer.cut(type(error).__name__)
        except (ValueError, LookupError, TypeError) as error:
            return answer.unreadable(error)


class _Answer:
    """What a client has of its answer so far."""

    def __init__(self, check: Check, num_tokens: int) -> None:
        self._check = check
        self._num_tokens = num_tokens
        self._begun_s = time.monotonic()
        self._first_byte_s: float | None = None
        self._text = ""
        # `[DONE]` and errors, in their order, and what came after the first of them.
        self._ends: list[str] = []

    def take(self, line: str) -> None:
        """A line of a stream. Comments are no part of the answer."""
        if not line.startswith("data: "):
            return
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            self._ends.append("[DONE]")
            return
        try:
            event = json.loads(data)
        except ValueError:
            self._ends.append("no JSON")
            return
        if "error" in event:
            self._ends.append(_code(event))
            return
        if self._ends:
            self._ends.append("data after the end")
        if self._first_byte_s is None:
            self._first_byte_s = time.monotonic() - self._begun_s
        for choice in event["choices"]:
            self._text += choice["delta"].get("content") or ""

    def refused(self, content: bytes) -> Result:
        """The whole of a reply with an error status."""
        try:
            return self._end(Outcome.REFUSED, _code(json.loads(content)))
        except (ValueError, TypeError):
            return self._end(Outcome.REFUSED, "unreadable", f"an error that is not in shape: {content[:200]!r}")

    def at_once(self, content: bytes) -> Result:
        """The whole of an answer that is no stream."""
        self._first_byte_s = time.monotonic() - self._begun_s
        self._text = json.loads(content)["choices"][0]["message"]["content"]
        return self._as_whole()

    def streamed(self) -> Result:
        """The stream is over."""
        if self._ends == ["[DONE]"]:
            return self._as_whole()
        if len(self._ends) != 1:
            return self._end(self._failed, "badly ended", f"a stream's ends: {self._ends or 'silence'}")
        return self._end(self._failed, self._ends[0], self._disorder())

    def cut(self, how: str) -> Result:
        """The connection broke, which a client's library tells as an error of its own."""
        return self._end(self._failed, how, self._disorder())

    def unreadable(self, error: Exception) -> Result:
        """Something came that no client can read."""
        return self._end(self._failed, "unreadable", f"an answer that is not in shape: {error!r}")

    @property
    def _failed(self) -> Outcome:
        return Outcome.REFUSED if self._first_byte_s is None else Outcome.BROKEN

    def _as_whole(self) -> Result:
        is_right, is_whole = self._check(self._text, self._num_tokens)
        wrong = "" if is_right and is_whole else f"not what was asked for: {self._text[-100:]!r}"
        return self._end(Outcome.WHOLE, wrong=wrong)

    def _disorder(self) -> str:
        return "" if self._check(self._text, self._num_tokens)[0] else f"words out of order: {self._text[-100:]!r}"

    def _end(self, outcome: Outcome, why: str = "", wrong: str = "") -> Result:
        return Result(outcome, self._begun_s, time.monotonic(), self._first_byte_s, why, wrong)


def _code(reply: Any) -> str:
    """The code of an error. Raises ValueError for one that is not in shape."""
    error = reply["error"]
    if set(error) != ERROR_FIELDS:
        raise ValueError("an error that is not in shape")
    return error["code"]


def codes(results: Iterable[Result]) -> set[str]:
    """Why these ended."""
    return {each.why for each in results}
