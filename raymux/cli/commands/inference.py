"""`raymux inference chat`, and `raymux inference` for short."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from raymux.cli import sampling
from raymux.cli.connection import Session, connected
from raymux.cli.errors import CliError, ExitCode
from raymux.cli.gpus import Gpu, preference
from raymux.cli.output import Waiting, print_json_line
from raymux.client.cold_start import Watch


class _ChatByDefault(TyperGroup):
    """`raymux inference --message hi` is `raymux inference chat --message hi`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["chat", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Ask a model. Without a command it is `chat`.", no_args_is_help=True, cls=_ChatByDefault)


@app.callback()
def _group() -> None:
    pass


@connected(app, "chat", more=sampling.options())
def chat(
    session: Session,
    given: Mapping[str, Any],
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="What to say; `-` reads it from stdin.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Who answers; without it the server's default model.")] = None,
    system: Annotated[str | None, typer.Option(help="An instruction before the message.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer as it comes.")] = False,
    gpu: Gpu = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for a model that is not ready.")] = False,
    param: Annotated[
        list[str] | None, typer.Option(help="Any other field of the request as NAME=VALUE; may be repeated.")
    ] = None,
) -> None:
    """Say something to a model and print its answer.

    With `--output json` the answer is the object of `POST /api/inference/chat`; with `--stream` as well, each event of
    `POST /v1/chat/completions` on a line of its own.
    """
    body = {"model": model, **sampling.body_fields(given, param or ())}
    body = {key: value for key, value in body.items() if value is not None} | preference(gpu)
    text = _message(message)
    headers = {"x-raymux-no-wait": "true"} if no_wait else {}
    with Waiting() as waiting:
        if stream:
            _stream(session, {**body, "messages": _messages(system, text)}, headers, waiting)
            return
        said = {"message": text} if system is None else {"message": text, "system": system}
        api = session.api
        with Watch(lambda waited_s: api.starting(model, waited_s), waiting.report):
            answer = api.post("/api/inference/chat", {**body, **said}, headers)
    session.show(answer, answer["response"])


def _stream(session: Session, body: dict[str, Any], headers: Mapping[str, str], waiting: Waiting) -> None:
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    has_text = False
    # Leaving early, by Ctrl-C as well, closes the connection, by which the server ends the generation.
    with closing(session.api.events("/v1/chat/completions", body, waiting.report, headers)) as events:
        try:
            for event in events:
                waiting.end()
                if session.is_json:
                    print_json_line(event)
                elif text := _text(event):
                    has_text = True
                    print(text, end="", flush=True)
        finally:
            if has_text:
                print(flush=True)


def _text(event: Mapping[str, Any]) -> str:
    choices = event.get("choices")
    return (choices[0].get("delta") or {}).get("content") or "" if choices else ""


def _messages(system: str | None, text: str) -> list[dict[str, str]]:
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": text}]


def _message(message: str | None) -> str:
    """The message, or what comes by a pipe. Raises CliError where there is neither."""
    if message is None and sys.stdin.isatty():
        raise CliError("say something with --message TEXT, or pipe it in.", ExitCode.USAGE)
    text = sys.stdin.read() if message in (None, "-") else message
    if not text:
        raise CliError("the message is empty; say something with --message TEXT.", ExitCode.USAGE)
    return text
