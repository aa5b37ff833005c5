"""Commands in this process, on a server that is a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partialmethod
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from raymux.cli.api import Api
from raymux.cli.app import run


class Ran(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


class FakeServer:
    """`replies` are by method and path; `asked` are the requests it got, as (method and path, body)."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[httpx.Headers] = []

    def on(self, what: str, *replies: Any) -> None:
        """Answer so, one reply after the other; the last again and again."""
        self.replies[what] = list(replies)

    def answer(self, request: httpx.Request) -> httpx.Response:
        what = f"{request.method} {request.url.raw_path.decode()}"
        is_form = request.headers.get("content-type", "").startswith("multipart/")
        body = request.read()
        self.asked.append((what, body if is_form else json.loads(body) if body else None))
        self.headers.append(request.headers)
        replies = self.replies.get(what)
        if not replies:
            return error(404, "not_found", "There is no such path.")
        reply = replies[0] if len(replies) == 1 else replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply if isinstance(reply, httpx.Response) else httpx.Response(200, json=reply)


def error(status: int, code: str, message: str) -> httpx.Response:
    body = {"error": {"message": message, "type": "x", "param": None, "code": code, "request_id": "req-1"}}
    return httpx.Response(status, json=body)


def stream(lines: Iterable[str]) -> httpx.Response:
    content = "".join(f"{line}\n\n" for line in lines).encode()
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    monkeypatch.setattr(Api, "__init__", partialmethod(Api.__init__, transport=httpx.MockTransport(fake.answer)))
    return fake


@pytest.fixture(autouse=True)
def profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where this test's profiles are; nothing of the environment has an influence."""
    for name in ("RAYMUX_URL", "INFERENCE_URL", "BENTOML_URL", "RAYMUX_API_KEY", "RAYMUX_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "raymux" / "profiles.json"
    monkeypatch.setenv("RAYMUX_PROFILES", str(path))
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command."""

    def call(*words: str) -> Ran:
        status = run(words)
        return Ran(status, *capsys.readouterr())

    return call
