"""What a conversion gathers: entries of a serve_config.yaml, and everything that could not be carried over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Types of GPU that raymux knows, as `catalog/gpus.py` has them.
GPU_TYPES = ("A10G", "L4", "T4", "L40S", "A100", "H100", "H200", "B200")
MAX_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
DTYPES = {
    **{name: name for name in ("auto", "bfloat16", "float16", "float32")}, "half": "float16", "float": "float32",
}  # fmt: skip

Entry = dict[str, Any]


@dataclass
class Draft:
    """The parts of the result. `notes` are by the name of what they are about, `""` for the whole."""

    models: list[Entry] = field(default_factory=list)
    adapters: list[Entry] = field(default_factory=list)
    providers: list[Entry] = field(default_factory=list)
    warmups: list[Entry] = field(default_factory=list)
    gateway: Entry = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, about: str, text: str) -> None:
        """Say what was not carried over, or must be looked at."""
        self.notes.setdefault(about, []).append(" ".join(text.split()))

    def keep_warm(self, model: str) -> None:
        """Have a model always ready: a window that begins each midnight and lasts a day."""
        self.warmups.append({"model": model, "cron": "0 0 * * *", "keep_warm_s": 86400})


class Fields:
    """The fields of a mapping, taken one by one, so that none is left without a word."""

    def __init__(self, value: Any, draft: Draft, about: str, path: str = "") -> None:
        self._rest = dict(value) if isinstance(value, Mapping) else {}
        self._draft = draft
        self._about = about
        self._path = path

    def take(self, name: str, default: Any = None) -> Any:
        """A field, which now counts as carried over; `default` where it is missing or null."""
        value = self._rest.pop(name, None)
        return default if value is None else value

    def inner(self, name: str) -> Fields:
        """A field that is a mapping itself."""
        return Fields(self._rest.pop(name, None), self._draft, self._about, f"{self._path}{name}.")

    def rest(self) -> Iterator[tuple[str, Any]]:
        """What has not been taken yet; it is now."""
        while self._rest:
            name = next(iter(self._rest))
            yield name, self._rest.pop(name)

    def close(self) -> None:
        """Note what nobody took."""
        for name, value in self.rest():
            if value not in (None, {}, [], ""):
                self._draft.note(self._about, f"{self._path}{name} is not carried over{_shown(name, value)}")


def _shown(name: str, value: Any) -> str:
    """A value that may be repeated, since no secret looks so: a number, yes or no, or a plain word."""
    is_plain = isinstance(value, bool | int | float) or re.fullmatch(r"[a-z_-]{1,30}", str(value))
    return f" (it was {value})." if is_plain and not re.search(r"key|token|secret|pass", name) else "."


def base_name(text: str) -> str:
    """A name as raymux allows it: letters, digits, `.`, `_` and `-`, with one `/` at most."""
    owner, _, name = text.partition("/")
    parts = [owner, name.replace("/", "-")] if name else [owner]
    cleaned = [re.sub(r"\.\.+", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", part)).strip("._-")[:128] for part in parts]
    return "/".join(part for part in cleaned if part) or "model"


def named(text: str, draft: Draft) -> str:
    """`base_name`, with a note where the name had to change."""
    name = base_name(text)
    if name != text:
        draft.note(name, f"its name was {text!r}, which raymux does not allow; requests must use the new one.")
    return name


def engine_settings(kwargs: Fields, draft: Draft, about: str) -> Entry:
    """vLLM's arguments, by their names with underscores, as an `engine` section; takes all of them."""
    engine: Entry = {}
    dtype = kwargs.take("dtype")
    if dtype in DTYPES:
        engine["dtype"] = DTYPES[dtype]
    elif dtype is not None:
        draft.note(about, f"dtype {dtype} is not carried over; raymux takes auto, bfloat16, float16 and float32.")
    for name in ("max_model_len", "max_num_seqs", "enforce_eager", "gpu_memory_utilization"):
        value = kwargs.take(name)
        if value is not None:
            engine[name] = value
    args = {}
    for name, value in kwargs.rest():
        if name in SET_BY_RAYMUX:
            draft.note(about, f"{name} is set by raymux itself and not carried over.")
        else:
            args[name] = value
    return {**engine, **({"args": args} if args else {})}


# `RESERVED_ENGINE_ARGS` of `catalog/models.py`, without those that have fields of their own.
SET_BY_RAYMUX = frozenset(
    {
        "model", "served_model_name", "host", "port", "uds", "api_key", "enable_lora", "max_loras", "max_cpu_loras",
        "max_lora_rank", "lora_modules", "tensor_parallel_size", "pipeline_parallel_size",
        "distributed_executor_backend", "runner", "trust_remote_code", "allowed_local_media_path", "enable_sleep_mode",
    }
)  # fmt: skip


def gpu_shape(type_: str, count: int) -> str:
    return type_ if count <= 1 or type_ == "CPU" else f"{type_}:{count}"


def adapter_pool(number: Any, rank: Any, draft: Draft, about: str) -> Entry:
    """An `adapters` section, its rank rounded up to one that engines take."""
    pool: Entry = {}
    if number is not None:
        pool["max_adapters_per_replica"] = min(256, max(1, int(number)))
    if rank is not None:
        pool["max_rank"] = next((each for each in MAX_RANKS if each >= int(rank)), MAX_RANKS[-1])
    return pool


def tasks_of(word: Any) -> list[str]:
    """A model's tasks by vLLM's `task` or `runner`, or LiteLLM's `mode`; `generate` for what is none of the others."""
    if word in ("embed", "embedding", "pooling"):
        return ["embed", "score"]
    return ["score"] if word in ("score", "classify", "rerank", "reward") else ["generate"]
