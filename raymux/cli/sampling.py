"""The parameters of a chat request as options: one table of what OpenAI's API, vLLM and raymux take."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import typer

from raymux.cli.errors import CliError, ExitCode


class SamplingParameter(NamedTuple):
    """A field of the request's body. `is_json`: its option takes JSON."""

    name: str
    type: Any
    help: str
    is_json: bool = False

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"


PARAMETERS = (
    SamplingParameter("max_tokens", int, "Most tokens of the answer."),
    SamplingParameter("temperature", float, "0 for the likeliest token, higher for more variety."),
    SamplingParameter("top_p", float, "Share of the probability that tokens are drawn from."),
    SamplingParameter("top_k", int, "Number of tokens that are drawn from."),
    SamplingParameter("min_p", float, "Least probability of a token, relative to the likeliest one's."),
    SamplingParameter("min_tokens", int, "Least tokens of the answer."),
    SamplingParameter("seed", int, "The same seed draws the same tokens again."),
    SamplingParameter("stop", list[str], "A text before which the answer ends; may be repeated."),
    SamplingParameter("stop_token_ids", list[int], "A token that ends the answer; may be repeated."),
    SamplingParameter("ignore_eos", bool, "Go on after the token that ends an answer."),
    SamplingParameter("include_stop_str_in_output", bool, "Keep the text that ended the answer."),
    SamplingParameter("skip_special_tokens", bool, "Leave special tokens out of the answer."),
    SamplingParameter("presence_penalty", float, "Against tokens that were used."),
    SamplingParameter("frequency_penalty", float, "Against tokens that were used, by how often."),
    SamplingParameter("repetition_penalty", float, "Against tokens of prompt and answer; 1 is none."),
    SamplingParameter("length_penalty", float, "For beam search."),
    SamplingParameter("bad_words", list[str], "A text that must not come; may be repeated."),
    SamplingParameter("allowed_token_ids", list[int], "A token that may come; may be repeated."),
    SamplingParameter("logit_bias", str, "JSON: a bias by token.", is_json=True),
    SamplingParameter("truncate_prompt_tokens", int, "Keep only so many tokens of the prompt."),
    SamplingParameter("reasoning_effort", str, "How long a reasoning model thinks."),
    SamplingParameter("thinking_token_budget", int, "Most tokens that a reasoning model thinks."),
    SamplingParameter("response_format", str, "JSON: the form of the answer, as in OpenAI's API.", is_json=True),
    SamplingParameter("structured_outputs", str, "JSON: the form of the answer, as in vLLM's API.", is_json=True),
    SamplingParameter("chat_template_kwargs", str, "JSON: arguments of the chat template.", is_json=True),
    SamplingParameter("priority", int, "vLLM's own priority; lower is served first."),
)
_BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
# What other options say, or what the command relies on.
_TAKEN = ("messages", "message", "model", "system", "stream", "stream_options")


def options() -> list[inspect.Parameter]:
    """The table as parameters of a command, each None where it is not given."""
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[each.type | None, typer.Option(each.option, help=each.help, show_default=False)]
            if each.type is not bool
            else Annotated[bool | None, typer.Option(help=each.help, show_default=False)],
        )
        for each in PARAMETERS
    ]


def body_fields(given: Mapping[str, Any], others: Iterable[str]) -> dict[str, Any]:
    """The fields of the body: options that were given, and `others`, each `NAME=VALUE` with JSON or text as its value.

    Raises CliError for what cannot be read.
    """
    fields = {name: _parsed(name, value) if _BY_NAME[name].is_json else value for name, value in given.items()}
    for other in others:
        name, separator, value = other.partition("=")
        if not separator or not name:
            raise CliError(f"--param: expected NAME=VALUE, not {other!r}.", ExitCode.USAGE)
        if name in _TAKEN:
            raise CliError(f"--param: {name} is not a sampling parameter.", ExitCode.USAGE)
        fields[name] = _json_or_text(value)
    return fields


def _parsed(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise CliError(f"{_BY_NAME[name].option}: expected JSON, not {value!r}.", ExitCode.USAGE) from None


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
