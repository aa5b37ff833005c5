"""Counts the tokens of examples, as the model that is to learn from them sees them. Runs as a Ray task: it blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from catalog.jobs import Form
from catalog.source_cache import SourceCacheSettings
from deployments.fine_tuning.examples import examples_of, messages_of
from deployments.sources.bring import Sources

MAX_PROBLEMS = 10
# Where neither the catalog nor the model says how long a context may be.
DEFAULT_MAX_TOKENS = 2048


class Counted(NamedTuple):
    """The longest context that the model takes, tokens, and what is wrong with a file, by its index."""

    max_tokens: int
    problems: tuple[tuple[int, str], ...] = ()
    is_too_long: bool = False


def count_tokens(
    source: str,
    max_model_len: int | None,
    files: list[tuple[str, str]],
    source_cache: SourceCacheSettings,
) -> Counted:
    """Check the examples of files, each a location that fsspec opens and a form, against the model of a source.

    Of the first file with problems, its first ten lines that are too long, or the one that the model's chat template
    does not take. Raises SourceNotFound, or OSError where a file or the model cannot be read.
    """
    from transformers import AutoConfig, AutoTokenizer

    model = Sources(source_cache).bring_now(source)
    tokenizer = AutoTokenizer.from_pretrained(model.location)
    max_tokens = max_model_len or _context(AutoConfig.from_pretrained(model.location))
    for index, (location, form) in enumerate(files):
        problems: list[str] = []
        is_too_long = False
        for line, example in examples_of(location):
            try:
                texts = list(_texts(tokenizer, Form(form), example))
            except Exception:
                # Of the template's own language; its message may hold a piece of the example.
                problems.append(f"line {line}: the model's chat template does not take these messages")
                break
            num_tokens = max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
            if num_tokens > max_tokens:
                is_too_long = True
                problems.append(f"line {line} has {num_tokens} tokens, and the model takes {max_tokens}")
            if len(problems) >= MAX_PROBLEMS:
                break
        if problems:
            return Counted(max_tokens, ((index, "; ".join(problems)),), is_too_long)
    return Counted(max_tokens)


def _context(config: Any) -> int:
    length = getattr(config, "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else DEFAULT_MAX_TOKENS


def _texts(tokenizer: Any, form: Form, example: Mapping[str, Any]) -> Iterator[str]:
    """Everything that is learned from an example, each as one text."""
    if form is Form.COMPLETION:
        yield example["prompt"] + example["completion"]
    elif form is Form.CHAT:
        yield _rendered(tokenizer, example, example["messages"])
    else:
        for name in ("preferred_output", "non_preferred_output"):
            yield _rendered(tokenizer, example["input"], [*example["input"]["messages"], *example[name]])


def _rendered(tokenizer: Any, example: Mapping[str, Any], messages: list[dict[str, Any]]) -> str:
    return tokenizer.apply_chat_template(messages_of(messages), tools=example.get("tools") or None, tokenize=False)
