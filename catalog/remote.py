"""Sources that are not on this machine: their forms, the places that hold them, and which of their files are served.

    hf://owner/name[@revision][/folder]     a repository of a Hugging Face hub
    s3://bucket/folder   gs://bucket/folder
    http(s)://host[:port]/path.tar.gz       an archive that holds the folder, at its top or in its only directory;
                                            .tgz, .tar or .zip too

A source stands in configurations, logs and the store, and is asked for again whenever a node needs it. So it holds no
credentials, and no query string, which is where signatures that expire are; nodes have credentials of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from catalog.addresses import Reach, is_address, reach

SCHEMES = ("hf", "s3", "gs", "http", "https")
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
# Weights as safetensors, and what configures and tokenizes; no pickles, no code.
SERVED_FILES = (
    "*.safetensors", "*.json", "*.txt", "*.jinja", "*.tiktoken",
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip

_PORTS = {"http": 80, "https": 443}
# Neither escapes nor wildcards, nor the colons that chain file systems in fsspec.
_SEGMENT = re.compile(r"[A-Za-z0-9!_.'()=+@,~-]{1,255}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A source, or a place that holds some. `place` is the hub's owner, the bucket, or `host:port`.

    `segments` are the steps below it; a hub's repository is the first of them.
    """

    scheme: str
    place: str
    segments: tuple[str, ...] = ()
    revision: str | None = None

    def holds(self, other: RemoteSource) -> bool:
        """Whether `other` is this, or lies below it; a revision holds only itself."""
        return (
            (self.scheme, self.place) == (other.scheme, other.place)
            and other.segments[: len(self.segments)] == self.segments
            and self.revision in (None, other.revision)
        )


def is_remote(source: str) -> bool:
    """Whether a source is a URL."""
    return "://" in source


def parse_remote(source: str) -> RemoteSource:
    """A source in one of the forms above. Raises ValueError, whose message does not repeat the source."""
    remote = parse_place(source)
    if remote.scheme in _PORTS:
        if not source.endswith(ARCHIVES) or not remote.segments:
            raise ValueError(f"a web server's source is an archive that ends in {', '.join(ARCHIVES)}")
    elif not remote.segments:
        raise ValueError("expected hf://owner/name" if remote.scheme == "hf" else "expected a folder in the bucket")
    return remote


def parse_place(text: str) -> RemoteSource:
    """A place that may hold sources, such as `s3://bucket/adapters/` or `hf://owner`. Raises ValueError likewise."""
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES:
        raise ValueError(f"expected a folder, a hub id, or a URL that begins with {', '.join(SCHEMES)} and ://")
    place, _, path = rest.partition("/")
    if "@" in place:
        raise ValueError("the URL may hold no user or password: nodes have credentials of their own")
    if "?" in rest or "#" in rest:
        raise ValueError("the URL may hold no query or fragment: signatures in it would be logged, and expire")
    segments = tuple(path.removesuffix("/").split("/")) if path else ()
    if not all(_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments):
        raise ValueError("the URL's path may hold plain characters only: no escapes, spaces, '..' or empty steps")
    if scheme in _PORTS:
        return RemoteSource(scheme, _host_and_port(scheme, place), segments)
    if scheme == "hf":
        return _in_hub(place, segments)
    if not _BUCKET.fullmatch(place):
        raise ValueError("the URL names no bucket")
    return RemoteSource(scheme, place, segments)


def is_within_places(source: str, places: Iterable[str]) -> bool:
    """Whether a remote source is well formed and lies in one of the places, of which those that are folders do not
    count."""
    try:
        remote = parse_remote(source)
    except ValueError:
        return False
    return any(parse_place(place).holds(remote) for place in places if is_remote(place))


def is_served(path: str) -> bool:
    """Whether a file of a source is fetched, by its path there; hidden ones are not."""
    *folders, name = path.split("/")
    is_hidden = any(step.startswith((".", "__")) for step in (*folders, name))
    return not is_hidden and any(fnmatchcase(name, pattern) for pattern in SERVED_FILES)


def _in_hub(owner: str, segments: tuple[str, ...]) -> RemoteSource:
    name, at, revision = segments[0].partition("@") if segments else ("", "", "")
    if any("@" in segment for segment in segments[1:]):
        raise ValueError("the revision stands behind the repository's name: hf://owner/name@revision/folder")
    for text in (owner, *([name] if segments else []), *([revision] if at else [])):
        if not _HUB_NAME.fullmatch(text):
            raise ValueError("expected hf://owner/name, and @revision where it is not the default one")
    return RemoteSource("hf", owner, (name, *segments[1:]) if segments else (), revision or None)


def _host_and_port(scheme: str, place: str) -> str:
    """In one spelling. Raises ValueError for what is no host, or one that nothing is fetched from."""
    try:
        parts = urlsplit(f"{scheme}://{place}")
        host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS[scheme]
    except ValueError:
        raise ValueError("the URL names no host") from None
    if is_address(host):
        if "%" in host or reach(host) is Reach.NOWHERE:
            raise ValueError("nothing is fetched from that address")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    last = host.rpartition(".")[2]
    if not _HOST.fullmatch(host) or last.isdigit() or last.startswith("0x"):
        raise ValueError("the URL names no host; an address is written in full, such as 203.0.113.7")
    return f"{host}:{port}"
