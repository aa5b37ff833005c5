"""The server's HTTP API for commands: JSON in and out, streams, and errors as one line.

Plain HTTP rather than the client library, which takes most of a second to import.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from raymux.cli.errors import CliError, ExitCode
from raymux.client.address import KEY_VARIABLE, Address
from raymux.client.bodies import model_path
from raymux.client.cold_start import ColdStart, OnColdStart, in_comment, in_status

# As long as a start and an answer may take; only connecting has to be quick.
TIMEOUT = httpx.Timeout(1800, connect=5)
LOOK_TIMEOUT_S = 5

Body = dict[str, Any]


class Api:
    """A connection to one server. Every method raises CliError where the server does not do what it was asked."""

    def __init__(self, address: Address, transport: httpx.BaseTransport | None = None) -> None:
        self.url = address.url
        headers = {"authorization": f"Bearer {address.api_key}"} if address.api_key else {}
        try:
            self._client = httpx.Client(
                base_url=address.url, headers=headers, timeout=TIMEOUT, transport=transport, follow_redirects=True
            )
        except (httpx.InvalidURL, UnicodeEncodeError):
            raise CliError(f"{address.url} is no address, or the key holds odd characters.", ExitCode.USAGE) from None

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Body:
        return self._call("GET", path, None, query)

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **query: Any) -> Body:
        return self._call("POST", path, body, query, headers)

    def delete(self, path: str) -> Body:
        return self._call("DELETE", path, None, {})

    def upload(self, path: str, file: Path, **fields: str) -> Body:
        """Send a file, and fields beside it, as a form."""
        try:
            with file.open("rb") as content, self._told():
                reply = self._client.post(path, files={"file": (file.name, content)}, data=fields)
        except OSError:
            raise CliError(f"{file} cannot be read.", ExitCode.USAGE) from None
        return self._object(reply)

    def starting(self, model: str | None, waited_s: float) -> ColdStart | None:
        """How far the start of a model is; None when it does not start. Raises what goes wrong."""
        description = self._client.get(f"/v1{model_path(model)}", timeout=LOOK_TIMEOUT_S).json() if model else None
        status = self._client.get("/v1/status", timeout=LOOK_TIMEOUT_S).json()
        return in_status(status, description, model, waited_s)

    def events(
        self, path: str, body: Body, report: OnColdStart, headers: Mapping[str, str] | None = None
    ) -> Generator[Body]:
        """The events of a stream. Comments about a start go to `report`. Closing the generator ends the request."""
        with self._told(), self._client.stream("POST", path, json=body, headers=headers) as reply:
            if reply.is_error or not reply.headers.get("content-type", "").startswith("text/event-stream"):
                reply.read()
                raise self._refusal(reply)
            yield from self._parsed(reply.iter_lines(), body.get("model"), report)

    def _parsed(self, lines: Iterator[str], model: str | None, report: OnColdStart) -> Iterator[Body]:
        for line in lines:
            progress = in_comment(line, model)
            if progress is not None:
                report(progress)
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            event = json.loads(data)
            if "error" in event:
                raise _error_of(event["error"], None)
            yield event
        raise CliError("the stream broke off before its end; try again.")

    def _call(
        self, method: str, path: str, body: Any, query: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Body:
        with self._told():
            reply = self._client.request(method, path, json=body, params=query or None, headers=headers)
        return self._object(reply)

    def _object(self, reply: httpx.Response) -> Body:
        if reply.is_error:
            raise self._refusal(reply)
        try:
            return reply.json()
        except ValueError:
            raise self._refusal(reply) from None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong on the way, as a line."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise CliError(
                f"nothing answers at {self.url}. Start raymux with `make serve` or `raymux serve`, or say where it runs"
                " with --url, RAYMUX_URL or a profile.",
                ExitCode.UNREACHABLE,
            ) from None
        except httpx.TimeoutException:
            raise CliError(f"{self.url} has not answered in time; `raymux status` says how it fares.") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise CliError(f"{self.url} is no address such as http://127.0.0.1:8000.", ExitCode.USAGE) from None
        except (httpx.HTTPError, ValueError) as error:
            raise CliError(f"the connection to {self.url} broke off ({type(error).__name__}); try again.") from None

    def _refusal(self, reply: httpx.Response) -> CliError:
        try:
            return _error_of(reply.json()["error"], reply.status_code)
        except (ValueError, LookupError, TypeError):
            return CliError(
                f"{self.url} answered {reply.status_code} as raymux would not; is it the right address?",
                ExitCode.FAILED,
            )


def _error_of(error: Mapping[str, Any], status: int | None) -> CliError:
    """The server's error as a line: its message, what helps with keys, and what a report of it should name."""
    message = "".join(char for char in " ".join(str(error["message"]).split()) if char.isprintable())
    code = ExitCode.FAILED
    if status in (401, 403):
        code = ExitCode.NOT_ALLOWED
        message += f" Give one with {KEY_VARIABLE}, a profile or --api-key."
    known = " ".join(str(each) for each in (status, error.get("code")) if each)
    request = f", request {error['request_id']}" if error.get("request_id") else ""
    return CliError(f"{message} ({known}{request})", code)
