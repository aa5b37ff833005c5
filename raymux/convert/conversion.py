"""From the text of another product's configuration to that of a serve_config.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from raymux.convert import Format, litellm, llama_swap, ray_serve_llm
from raymux.convert.draft import Draft, Entry

_CONVERTERS = {Format.RAY_SERVE_LLM: ray_serve_llm, Format.LITELLM: litellm, Format.LLAMA_SWAP: llama_swap}
DEFAULT_GPU = "L4"

_HEAD = """\
# Made by `raymux import` from a configuration of {product}. Look at the comments, check it with
# `raymux validate`, and run it with `raymux serve`.
"""
_SERVE = """\
proxy_location: HeadOnly
http_options:
  host: 127.0.0.1
  port: 8000
  request_timeout_s: null
logging_config:
  encoding: JSON
  enable_access_log: false

applications:
  - name: raymux
    route_prefix: /
    import_path: deployments.app:build
    deployments:
      - name: Gateway
        user_config:
{gateway}
      - name: ModelManager
        user_config:
{manager}"""
_PRODUCTS = {Format.RAY_SERVE_LLM: "Ray Serve LLM", Format.LITELLM: "LiteLLM", Format.LLAMA_SWAP: "llama-swap"}
# raymux runs at least one model of its own.
_STAND_IN: Entry = {"name": "demo-chat", "source": "models/demo-chat", "variants": [{"shape": "CPU"}]}


class ConversionError(ValueError):
    """The text is no configuration that can be converted; the message says why."""


@dataclass(frozen=True)
class Converted:
    """The text of a serve_config.yaml, and what it says in comments of what could not be carried over."""

    text: str
    warnings: tuple[str, ...]


def convert(text: str, format_: Format | None = None, gpu: str = DEFAULT_GPU) -> Converted:
    """Convert a configuration, of whichever product it is unless that is named; `gpu` is the type where none is named.

    Raises ConversionError.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConversionError("it is not valid YAML.") from None
    if format_ is None:
        format_ = next((each for each, module in _CONVERTERS.items() if module.matches(document)), None)
        if format_ is None:
            raise ConversionError("it is no configuration of Ray Serve LLM, LiteLLM or llama-swap that is known here.")
    elif not _CONVERTERS[format_].matches(document):
        raise ConversionError(f"it is no configuration of {_PRODUCTS[format_]}.")
    try:
        draft = _CONVERTERS[format_].convert(document, gpu)
    except (TypeError, ValueError, LookupError, AttributeError):
        raise ConversionError(f"it is not as {_PRODUCTS[format_]} documents it; a value has another type.") from None
    if not draft.models and not draft.providers:
        raise ConversionError("nothing in it can be carried over: " + " ".join(_all_notes(draft)))
    if not draft.models:
        draft.models.append(dict(_STAND_IN))
        draft.note("", "raymux runs at least one model of its own: demo-chat stands for it; put yours there.")
    return Converted(_render(draft, _PRODUCTS[format_]), tuple(_all_notes(draft)))


def _all_notes(draft: Draft) -> Iterable[str]:
    return [f"{about}: {text}" if about else text for about, notes in draft.notes.items() for text in notes]


def _render(draft: Draft, product: str) -> str:
    placed = {model["name"] for model in draft.models}
    head = [note for about, notes in draft.notes.items() if about not in placed for note in _labelled(about, notes)]
    manager = [_section("models", draft.models, draft)]
    for name in ("adapters", "providers", "warmups"):
        if entries := getattr(draft, name):
            manager.append(_section(name, entries, None))
    gateway = {"defaults": _defaults(draft), **draft.gateway}
    body = _SERVE.format(gateway=_indented(_dump(gateway), 10), manager="\n".join(manager))
    comments = "".join(f"# - {line}\n" for line in head)
    return _HEAD.format(product=product) + (f"#\n{comments}" if comments else "") + body + "\n"


def _labelled(about: str, notes: list[str]) -> list[str]:
    return [f"{about}: {note}" if about else note for note in notes]


def _section(name: str, entries: list[Entry], draft: Draft | None) -> str:
    """A list of entries, each below what is to be said of it."""
    lines = [f"          {name}:"]
    for entry in entries:
        notes = draft.notes.get(entry["name"], []) if draft is not None else []
        lines += [f"            # {note}" for note in notes]
        lines.append(_indented(_dump([entry]), 12))
    return "\n".join(lines)


def _defaults(draft: Draft) -> Entry:
    """The first model that can do an endpoint's task answers requests that name none."""
    candidates = [(model["name"], model.get("tasks") or ["generate"]) for model in draft.models]
    if draft.models == [_STAND_IN]:
        candidates = []
    candidates += [
        (f"{provider['name']}/{model['name']}", model.get("tasks") or ["generate"])
        for provider in draft.providers
        for model in provider["models"]
    ]
    defaults = {}
    for endpoint, task in (("chat", "generate"), ("embeddings", "embed"), ("rerank", "score")):
        name = next((name for name, tasks in candidates if task in tasks), None)
        if name is not None:
            defaults[endpoint] = name
    return defaults


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).rstrip("\n")


def _indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line for line in text.splitlines())
