from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from raymux.cli import sampling
from raymux.cli.commands import inference
from raymux.cli.errors import ExitCode
from raymux.client.cold_start import ColdStart, Watch
from tests.unit.raymux.cli.conftest import FakeServer, Ran, stream

Cli = Callable[..., Ran]
CHAT, STREAM = "POST /api/inference/chat", "POST /v1/chat/completions"
ANSWER = {"model": "m", "response": "four", "finish_reason": "stop", "usage": {"total_tokens": 3}, "latency_ms": 1.5}


def chunk(text: str) -> str:
    return "data: " + json.dumps(
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
    )


def test_the_answer_is_printed_as_text_or_as_the_very_object(cli: Cli, server: FakeServer) -> None:
    server.on(CHAT, ANSWER)
    assert cli("inference", "chat", "--message", "2+2?") == (0, "four\n", "")
    assert json.loads(cli("inference", "chat", "-m", "2+2?", "-o", "json").out) == ANSWER
    assert server.asked == [(CHAT, {"message": "2+2?"})] * 2


def test_without_a_command_it_is_a_chat(cli: Cli, server: FakeServer) -> None:
    server.on(CHAT, ANSWER)
    assert cli("inference", "--model", "m", "--message", "hi").out == "four\n"
    assert server.asked == [(CHAT, {"model": "m", "message": "hi"})]


def values_of(parameter: sampling.SamplingParameter) -> tuple[list[str], Any]:
    """Words of the command line for a parameter, and what the body should hold."""
    if parameter.is_json:
        return [parameter.option, '{"a": 1}'], {"a": 1}
    if parameter.type is bool:
        return [parameter.option], True
    if parameter.type in (list[str], list[int]):
        values = ["a", "b"] if parameter.type == list[str] else [1, 2]
        return [word for value in values for word in (parameter.option, str(value))], values
    value = {int: 3, float: 0.5, str: "low"}[parameter.type]
    return [parameter.option, str(value)], value


def test_every_sampling_parameter_reaches_the_body(cli: Cli, server: FakeServer) -> None:
    server.on(CHAT, ANSWER)
    words: list[str] = []
    expected: dict[str, Any] = {"message": "hi", "system": "Be brief.", "gpu_preference": ["L4", "A10G"]}
    for parameter in sampling.PARAMETERS:
        spelled, expected[parameter.name] = values_of(parameter)
        words += spelled
    more = ["--system", "Be brief.", "--gpu", "L4", "--gpu", "A10G", "--param", "cache_salt=x", "--param", "n=2"]
    assert cli("inference", "chat", "--message", "hi", *words, *more).status == 0
    assert server.asked == [(CHAT, {**expected, "cache_salt": "x", "n": 2})]


def test_zero_and_no_are_values(cli: Cli, server: FakeServer) -> None:
    server.on(CHAT, ANSWER)
    cli("inference", "chat", "-m", "hi", "--temperature", "0", "--no-skip-special-tokens", "--gpu", "L4", "--no-wait")
    assert server.asked[0][1] == {
        "message": "hi", "temperature": 0, "skip_special_tokens": False, "gpu_preference": "L4",
    }  # fmt: skip
    assert server.headers[0]["x-raymux-no-wait"] == "true"


@pytest.mark.parametrize(
    "words", [["--logit-bias", "{"], ["--param", "seed"], ["--param", "=1"], ["--param", "stream=true"]]
)
def test_values_that_cannot_be_read_are_refused_before_anything_is_sent(
    cli: Cli, server: FakeServer, words: list[str]
) -> None:
    ran = cli("inference", "chat", "-m", "hi", *words)
    assert (ran.status, ran.err.count("\n")) == (ExitCode.USAGE, 1)
    assert server.asked == []


def test_a_stream_prints_pieces_or_an_event_a_line(cli: Cli, server: FakeServer) -> None:
    usage = 'data: {"object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 3}}'
    server.on(STREAM, stream([chunk("fo"), chunk("ur"), usage, "data: [DONE]"]))
    assert cli("inference", "chat", "-m", "2+2?", "--system", "Brief.", "--stream") == (0, "four\n", "")
    printed = cli("inference", "chat", "-m", "2+2?", "--stream", "--output", "json").out.splitlines()
    assert json.loads(printed[-1])["usage"] == {"total_tokens": 3}
    assert server.asked[0][1] == {
        "messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "2+2?"}],
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip


def test_comments_of_a_stream_are_told_once_for_each_step(cli: Cli, server: FakeServer) -> None:
    comments = [f": raymux starting step=loading waited_s={waited_s} expected_s=9" for waited_s in (1, 2)]
    server.on(STREAM, stream([*comments, ": raymux starting step=warming_up waited_s=3", chunk("x"), "data: [DONE]"]))
    ran = cli("inference", "chat", "--model", "m", "-m", "hi", "--stream")
    assert ran.out == "x\n"
    assert ran.err == ("m is starting (loading), 1 s so far, about 9 s to go\nm is starting (warming up), 3 s so far\n")


def test_an_error_in_a_stream_ends_it_with_1(cli: Cli, server: FakeServer) -> None:
    failed = 'data: {"error": {"message": "The engine fell silent.", "code": "upstream_error", "request_id": "r"}}'
    server.on(STREAM, stream([chunk("fo"), failed]))
    ran = cli("inference", "chat", "-m", "hi", "--stream")
    assert (ran.status, ran.out) == (ExitCode.FAILED, "fo\n")
    assert ran.err == "error: The engine fell silent. (upstream_error, request r)\n"


def test_a_stream_without_its_end_is_not_taken_for_a_whole_one(cli: Cli, server: FakeServer) -> None:
    server.on(STREAM, stream([chunk("fo")]))
    ran = cli("inference", "chat", "-m", "hi", "--stream")
    assert (ran.status, "broke off" in ran.err) == (ExitCode.FAILED, True)


def test_a_message_comes_by_a_pipe_and_an_empty_one_is_refused(
    cli: Cli, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on(CHAT, ANSWER)
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe"))
    cli("inference", "chat")
    assert server.asked[0][1] == {"message": "from a pipe"}
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cli("inference", "chat").status == ExitCode.USAGE
    assert cli("inference", "chat", "-m", "").status == ExitCode.USAGE


def test_a_whole_answer_s_cold_start_is_watched(cli: Cli, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    class QuickWatch(Watch):
        """Looks once, before the block runs."""

        def __enter__(self) -> Watch:
            found = self._look(4)
            assert isinstance(found, ColdStart)
            self._report(found)
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(inference, "Watch", QuickWatch)
    server.on("GET /v1/models/peft:m:job", {"id": "peft:m:job", "parent": "m"})
    server.on("GET /v1/status", {"variants": [{"model": "m", "state": "scheduling", "expected_start_s": 10}]})
    server.on(CHAT, ANSWER)
    ran = cli("inference", "chat", "--model", "peft:m:job", "-m", "hi")
    assert (ran.out, ran.err) == ("four\n", "peft:m:job is scheduling, 4 s so far, about 6 s to go\n")


def test_the_key_is_sent_and_only_if_there_is_one(
    cli: Cli, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on(CHAT, httpx.Response(200, json=ANSWER))
    cli("inference", "-m", "hi")
    monkeypatch.setenv("RAYMUX_API_KEY", "rmx-1")
    cli("inference", "-m", "hi")
    cli("inference", "-m", "hi", "--api-key", "rmx-2")
    assert [headers.get("authorization") for headers in server.headers] == [None, "Bearer rmx-1", "Bearer rmx-2"]
