"""`python -m benchmarks.load URL --streams N`: a lean load client, one request after another on each of N connections.

It runs in a process of its own, prints `begin` when every connection is open, and in the end one JSON object, a
`LoadReport`. It reads just enough of a reply to time it and to see that it is whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks.connection import BadReply, Connection, Timings
from catalog.sources import PROJECT

REQUEST_TIMEOUT_S = 120
PROMPT = "Count from one to ten, again and again, and write nothing else."


@dataclass(frozen=True)
class LoadReport:
    """What a run saw. TTFT is from the request out to the first event with content, or an unstreamed body, in."""

    num_requests: int
    num_events: int
    num_bytes: int
    requests_per_s: float
    ttft_p50_ms: float
    ttft_p95_ms: float
    ttft_p99_ms: float
    gap_p99_ms: float
    errors: dict[str, int]


@dataclass(frozen=True)
class Load:
    """What to send where."""

    host: str
    port: int
    raw: bytes
    num_events: int | None
    duration_s: float

    @classmethod
    def parse(cls, options: argparse.Namespace) -> Load:
        url = urlsplit(options.url)
        host, port = url.hostname or "127.0.0.1", url.port or 80
        is_stream = not (options.unstreamed or options.embed)
        fields = {"input": PROMPT} if options.embed else _chat(options.tokens, stream=is_stream)
        body = json.dumps({"model": options.model, **fields}).encode()
        head = (
            f"POST {url.path or '/v1/chat/completions'} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        # An event for each token, and [DONE].
        num_events = None if not is_stream else 0 if options.any_events else options.tokens + 1
        return cls(host, port, head.encode() + body, num_events, options.duration_s)


def _chat(num_tokens: int, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": PROMPT}]
    return {
        "messages": messages, "max_tokens": num_tokens, "temperature": 0, "ignore_eos": True, "stream": stream,
    }  # fmt: skip


def run_client(url: str, words: Sequence[str], on_begin: Callable[[], None] = lambda: None) -> LoadReport:
    """Run this client in a process of its own, with these arguments; `on_begin` is called as its first request goes."""
    command = [sys.executable, "-m", "benchmarks.load", url, *words]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        client.stdout.readline()
        on_begin()
        return LoadReport(**json.loads(client.stdout.read()))


async def run(load: Load, num_streams: int) -> LoadReport:
    """Keep `num_streams` requests under way for `load.duration_s`; those begun by then are waited for."""
    timings = Timings()
    errors: Counter[str] = Counter()
    connections = [await _connect(load, timings) for _ in range(num_streams)]
    print("begin", flush=True)
    rates = await asyncio.gather(*(_stream(load, connection, timings, errors) for connection in connections))
    return LoadReport(
        num_requests=sum(num for num, _ in rates),
        num_events=timings.num_events,
        num_bytes=timings.num_bytes,
        # Of each stream by its own clock: whole requests do not fill `duration_s` evenly.
        requests_per_s=sum(num / elapsed_s for num, elapsed_s in rates),
        ttft_p50_ms=percentile_ms(timings.ttfts_s, 0.5),
        ttft_p95_ms=percentile_ms(timings.ttfts_s, 0.95),
        ttft_p99_ms=percentile_ms(timings.ttfts_s, 0.99),
        gap_p99_ms=percentile_ms(timings.gaps_s, 0.99),
        errors=dict(errors),
    )


async def _connect(load: Load, timings: Timings) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(timings, load.num_events), load.host, load.port)
    return connection


async def _stream(load: Load, connection: Connection, timings: Timings, errors: Counter[str]) -> tuple[int, float]:
    """One request after another. Returns how many went well, and the seconds they took."""
    num_done = 0
    begun_s = time.perf_counter()
    while time.perf_counter() - begun_s < load.duration_s:
        try:
            if not connection.is_open:
                connection = await _connect(load, timings)
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await connection.request(load.raw)
            num_done += 1
        except (BadReply, OSError, TimeoutError) as error:
            errors[str(error) or type(error).__name__] += 1
            connection.close()
            # A server that refuses everything is not hammered.
            await asyncio.sleep(0.1)
    connection.close()
    return num_done, time.perf_counter() - begun_s


def percentile_ms(values_s: Sequence[float], share: float) -> float:
    """The nearest-rank percentile, milliseconds; 0 without values."""
    if not values_s:
        return 0.0
    return sorted(values_s)[min(len(values_s) - 1, int(share * len(values_s)))] * 1000


def main(arguments: list[str]) -> int:
    """Run and print the report; 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("url", help="of a chat completions or embeddings endpoint, http only")
    parser.add_argument("--model", default="emulated")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--duration-s", type=float, default=5.0)
    parser.add_argument("--unstreamed", action="store_true")
    parser.add_argument("--any-events", action="store_true", help="a stream may have more or fewer events than tokens")
    parser.add_argument("--embed", action="store_true", help="embeddings of one text instead of chat completions")
    options = parser.parse_args(arguments)
    report = uvloop.run(run(Load.parse(options), options.streams))
    for error, count in report.errors.items():
        print(f"{count} requests failed: {error}", file=sys.stderr)
    print(json.dumps(asdict(report)))
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
