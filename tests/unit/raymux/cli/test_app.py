from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

import raymux
from raymux.cli.errors import ExitCode
from tests.unit.raymux.cli.conftest import FakeServer, Ran, error

Cli = Callable[..., Ran]


def test_the_version_is_the_package_s(cli: Cli) -> None:
    assert cli("--version") == (0, f"raymux {raymux.__version__}\n", "")


@pytest.mark.parametrize("words", [(), ("models",), ("inference",), ("profile",)])
def test_without_a_command_the_help_is_shown(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli(*words)
    assert (ran.status, ran.err) == (ExitCode.USAGE, "")
    assert "Commands:" in ran.out


@pytest.mark.parametrize(
    "words",
    [("nonsense",), ("models", "get"), ("status", "--nonsense"), ("inference", "chat", "--temperature", "hot"),
     ("status", "--output", "xml"), ("status", "--url", "ftp://host"), ("status", "--profile", "nobody")],
)  # fmt: skip
def test_a_wrong_call_is_one_line_and_2(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli(*words)
    assert (ran.status, ran.out, ran.err.count("\n")) == (ExitCode.USAGE, "", 1)
    assert ran.err.startswith("error: ")


@pytest.mark.parametrize(
    ("reply", "status", "says"),
    [
        (
            error(404, "model_not_found", "No model has this name."),
            ExitCode.FAILED,
            "(404 model_not_found, request req-1)",
        ),
        (error(401, "invalid_api_key", "A key is needed."), ExitCode.NOT_ALLOWED, "RAYMUX_API_KEY"),
        (error(403, "permission_denied", "An admin\nkey is needed."), ExitCode.NOT_ALLOWED, "An admin key is needed."),
        (httpx.Response(200, text="<html>"), ExitCode.FAILED, "is it the right address?"),
        (httpx.Response(502, text="Bad Gateway"), ExitCode.FAILED, "answered 502"),
        (httpx.Response(500, json=["odd"]), ExitCode.FAILED, "answered 500"),
        (httpx.ConnectError("refused"), ExitCode.UNREACHABLE, "make serve"),
        (httpx.ReadTimeout("slow"), ExitCode.FAILED, "not answered in time"),
        (httpx.RemoteProtocolError("cut"), ExitCode.FAILED, "broke off"),
    ],
)
def test_what_goes_wrong_is_one_line_that_says_what_to_do(
    cli: Cli, server: FakeServer, reply: object, status: int, says: str
) -> None:
    server.on("GET /v1/models", reply)
    ran = cli("models", "list")
    assert (ran.status, ran.out, ran.err.count("\n")) == (status, "", 1)
    assert says in ran.err


def test_ctrl_c_is_130_without_a_word(cli: Cli, server: FakeServer) -> None:
    server.on("GET /v1/models", KeyboardInterrupt())
    assert cli("models", "list") == (ExitCode.INTERRUPTED, "", "")
