"""What a prompt begins with, as hashes, and how much of it a replica's prefix cache should hold.

An engine keeps the keys and values of prompts it has computed, and takes them for the beginning of a later prompt that
is the same (vLLM: automatic prefix caching). The gateway cannot look into that cache; it remembers what it has sent
where. Lengths are bytes of the prompt's text: the gateway has no tokenizer.
"""

from __future__ import annotations

import json
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

HASH_BYTES = 8
# A prompt is hashed up to each of these positions. Steps grow with the position, so that a long prompt has few hashes
# and what falls between two cuts stays a small share of it: 96 cuts, the last one at 258,048 bytes.
_STEPS = [256 * 2**size for size in range(6) for _ in range(16)]
CUTS = tuple(accumulate(_STEPS))
# The part of a message that is no text (an image, a sound) counts as this much text, whatever its encoding takes.
MEDIA_BYTES = 4096
# The fields that become the prompt, in the order in which chat templates render them.
_PROMPT_FIELDS = ("tools", "system", "instructions", "messages", "prompt", "input")
_MEDIA_TYPES = {
    "image", "image_url", "image_embeds", "input_image", "audio", "audio_url", "input_audio", "video", "video_url",
    "file", "input_file", "document",
}  # fmt: skip
_SAMPLE_CHARS = 1024


class Prefix(NamedTuple):
    """A prompt's length, and the hashes of its beginning up to each of `CUTS` that it reaches.

    Two prompts have a hash in common exactly where they are the same up to that cut (64 bits of BLAKE2b).
    """

    hashes: tuple[bytes, ...]
    num_bytes: int


def prefix_of(fields: Mapping[str, Any], salt: Sequence[str] = ()) -> Prefix:
    """The prefix of a request's body. Bodies with another `salt` or `cache_salt` have no hash in common."""
    text, num_bytes = _text(fields)
    own_salt = fields.get("cache_salt")
    root = json.dumps([*salt, own_salt if isinstance(own_salt, str) else ""]).encode()
    hasher = blake2b(root.ljust(128, b"\0"), digest_size=HASH_BYTES)
    view, hashes = memoryview(text), list[bytes]()
    for begin, end in pairwise((0, *CUTS)):
        if end > len(text):
            break
        hasher.update(view[begin:end])
        hashes.append(hasher.digest())
    return Prefix(tuple(hashes), num_bytes)


def _text(fields: Mapping[str, Any]) -> tuple[bytes, int]:
    """The prompt as bytes, as far as the last cut, and its whole length."""
    pieces: list[bytes] = []
    num_bytes = 0
    for field in _PROMPT_FIELDS:
        value = fields.get(field)
        if value is None:
            continue
        for piece in _pieces(value):
            if num_bytes < CUTS[-1]:
                pieces.append(piece)
            num_bytes += len(piece) + 1
    return b"\0".join(pieces)[: CUTS[-1]], num_bytes


def _pieces(value: Any) -> Iterator[bytes]:
    """The text in a JSON value, in order."""
    if isinstance(value, str):
        yield value.encode("utf-8", "surrogatepass")
    elif isinstance(value, dict):
        if value.get("type") in _MEDIA_TYPES:
            yield _media(value)
            return
        for key, inner in value.items():
            yield key.encode("utf-8", "surrogatepass")
            yield from _pieces(inner)
    elif isinstance(value, list) and value and isinstance(value[0], int):
        yield _token_ids(value)
    elif isinstance(value, list):
        for inner in value:
            yield from _pieces(inner)
    else:
        yield str(value).encode()


def _media(part: dict[str, Any]) -> bytes:
    """Stands for a part that may have megabytes, of which only samples are read."""
    hasher = blake2b(digest_size=32)
    for text in _strings(part):
        hasher.update(f"{len(text)}{text[:_SAMPLE_CHARS]}{text[-_SAMPLE_CHARS:]}".encode("utf-8", "surrogatepass"))
    return hasher.digest() * (MEDIA_BYTES // 32)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)


def _token_ids(ids: list[Any]) -> bytes:
    """A prompt of token ids, four bytes each."""
    try:
        return array("I", ids).tobytes()
    except (TypeError, OverflowError):
        return str(ids).encode()


class HeldPrefixes:
    """The prefixes that one replica has served last, as much as its cache holds.

    A prefix is always held with all that it begins with: the beginning counts as used later than what follows, so the
    end goes first, as vLLM frees its blocks.
    """

    def __init__(self) -> None:
        self._steps: OrderedDict[bytes, int] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        """Hashes remembered."""
        return len(self._steps)

    def num_held_bytes(self, prefix: Prefix) -> int:
        """How much of the prompt's beginning is held; never more than the prompt."""
        low, high = 0, len(prefix.hashes)
        while low < high:
            middle = (low + high) // 2
            if prefix.hashes[middle] in self._steps:
                low = middle + 1
            else:
                high = middle
        return CUTS[low - 1] if low else 0

    def add(self, hashes: Sequence[bytes], max_bytes: float, max_hashes: int) -> None:
        """The replica serves a prompt with these hashes; what was used least recently goes when that is too much."""
        steps = self._steps
        for hash, step in zip(reversed(hashes), reversed(_STEPS[: len(hashes)]), strict=True):
            if hash in steps:
                steps.move_to_end(hash)
            else:
                steps[hash] = step
                self.num_bytes += step
        while steps and (self.num_bytes > max_bytes or len(steps) > max_hashes):
            self.num_bytes -= steps.popitem(last=False)[1]
