"""`python -m benchmarks.load URL --streams N`: a lean load client, one request after another on each of N connections.

With `--rate` requests arrive at random instead, whatever became of those before them. It runs in a process of its
own, prints `begin` when it is warm, and in the end one JSON object, a `LoadReport`. It reads just enough of a reply to
time it and to see that it is whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, chain
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks.connection import BadReply, Connection, Timings
from catalog.project import PROJECT

REQUEST_TIMEOUT_S = 120
# Which model a request asks for, and when it arrives, is the same in every run.
SEED = 5
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
    """What to send where. `requests` has one for each model, the most wanted first; `rate` is requests/s, if any."""

    host: str
    # The same number of each: where the server of each model's request listens.
    ports: tuple[int, ...]
    requests: tuple[bytes, ...]
    num_events: int | None
    duration_s: float
    warm_up_s: float = 0.0
    rate: float | None = None

    @classmethod
    def parse(cls, options: argparse.Namespace) -> Load:
        url = urlsplit(options.url)
        host, port = url.hostname or "127.0.0.1", url.port or 80
        is_stream = not (options.unstreamed or options.embed)
        fields = {"input": PROMPT} if options.embed else _chat(options.tokens, stream=is_stream)
        names = model_names(options.model, options.models)
        return cls(
            host=host,
            ports=tuple(port + rank if options.each_port else port for rank in range(len(names))),
            requests=tuple(_request(url.path, f"{host}:{port}", {"model": name, **fields}) for name in names),
            # An event for each token, and [DONE].
            num_events=None if not is_stream else 0 if options.any_events else options.tokens + 1,
            duration_s=options.duration_s,
            warm_up_s=options.warm_up_s,
            rate=options.rate,
        )


def model_names(name: str, num_models: int) -> list[str]:
    """`name` itself, or `name-1` to `name-N` for more than one model."""
    return [name] if num_models == 1 else [f"{name}-{rank}" for rank in range(1, num_models + 1)]


def zipf_weights(num: int) -> list[float]:
    """Zipf's law with exponent 1: the model of rank k is asked for 1/k times as often as the first."""
    return [1 / rank for rank in range(1, num + 1)]


def _request(path: str, host: str, fields: dict[str, Any]) -> bytes:
    body = json.dumps(fields).encode()
    head = (
        f"POST {path or '/v1/chat/completions'} HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


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


class Client:
    """Connections to a server, and what became of the requests on them."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._random = random.Random(SEED)
        self._targets = list(zip(load.ports, load.requests, strict=True))
        self._cumulated = list(accumulate(zipf_weights(len(load.requests))))
        self._idle: dict[int, deque[Connection]] = {port: deque() for port in load.ports}
        self._num_free = 0
        self._timings = Timings()
        self._errors: Counter[str] = Counter()

    async def connect(self, num_streams: int) -> None:
        """Let so many requests be under way at once. With more than one port, connections come as they are needed."""
        self._num_free = num_streams
        if len(self._idle) == 1:
            (port,) = self._idle
            self._idle[port].extend([await self._connect(port) for _ in range(num_streams)])

    def close(self) -> None:
        for connection in chain.from_iterable(self._idle.values()):
            connection.close()

    async def run(self, duration_s: float) -> LoadReport:
        """Send requests for so long; those begun by then are waited for. What an earlier run saw is forgotten."""
        self._timings.clear()
        self._errors.clear()
        if self._load.rate is None:
            rates = await asyncio.gather(*(self._stream(duration_s) for _ in range(self._num_free)))
        else:
            rates = [(await self._arrivals(self._load.rate, duration_s), duration_s)]
        ttfts_s = self._timings.ttfts_s
        return LoadReport(
            num_requests=sum(num for num, _ in rates),
            num_events=self._timings.num_events,
            num_bytes=self._timings.num_bytes,
            # Of each stream by its own clock: whole requests do not fill `duration_s` evenly.
            requests_per_s=sum(num / elapsed_s for num, elapsed_s in rates),
            ttft_p50_ms=percentile_ms(ttfts_s, 0.5),
            ttft_p95_ms=percentile_ms(ttfts_s, 0.95),
            ttft_p99_ms=percentile_ms(ttfts_s, 0.99),
            gap_p99_ms=percentile_ms(self._timings.gaps_s, 0.99),
            errors=dict(self._errors),
        )

    async def _stream(self, duration_s: float) -> tuple[int, float]:
        """One request after another on one connection. Returns how many went well, and the seconds they took."""
        num_done = 0
        begun_s = time.perf_counter()
        while time.perf_counter() - begun_s < duration_s:
            num_done += await self._send()
        return num_done, time.perf_counter() - begun_s

    async def _arrivals(self, rate: float, duration_s: float) -> int:
        """Requests as a Poisson process, as many at once as there are connections. Returns how many went well."""
        requests: list[asyncio.Task[bool]] = []
        begun_s = due_s = time.perf_counter()
        while (due_s := due_s + self._random.expovariate(rate)) < begun_s + duration_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            if self._num_free:
                requests.append(asyncio.create_task(self._send()))
                # Let it take its connection before the next one looks for one.
                await asyncio.sleep(0)
            else:
                self._errors["no connection was free"] += 1
        return sum(await asyncio.gather(*requests))

    async def _send(self) -> bool:
        """One request on the connection that has been idle longest. Whether it went well."""
        port, request = self._next()
        idle = self._idle[port]
        connection = idle.popleft() if idle else None
        self._num_free -= 1
        try:
            if connection is None or not connection.is_open:
                connection = await self._connect(port)
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await connection.request(request)
            idle.append(connection)
            return True
        except (BadReply, OSError, TimeoutError) as error:
            self._errors[str(error) or type(error).__name__] += 1
            if connection is not None:
                connection.close()
            # A server that refuses everything is not hammered.
            await asyncio.sleep(0.1)
            return False
        finally:
            self._num_free += 1

    def _next(self) -> tuple[int, bytes]:
        return self._random.choices(self._targets, cum_weights=self._cumulated)[0]

    async def _connect(self, port: int) -> Connection:
        loop, load = asyncio.get_running_loop(), self._load
        _, connection = await loop.create_connection(
            lambda: Connection(self._timings, load.num_events), load.host, port
        )
        return connection


async def run(load: Load, num_streams: int) -> LoadReport:
    """Warm up, say `begin`, and keep `num_streams` requests under way, or let them arrive, for `load.duration_s`."""
    client = Client(load)
    await client.connect(num_streams)
    if load.warm_up_s:
        await client.run(load.warm_up_s)
    print("begin", flush=True)
    report = await client.run(load.duration_s)
    client.close()
    return report


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
    parser.add_argument("--models", type=int, default=1, help="NAME-1 to NAME-N instead, by Zipf's law")
    parser.add_argument("--each-port", action="store_true", help="each model at a port of its own, from the URL's on")
    parser.add_argument("--streams", type=int, default=8, help="requests at once")
    parser.add_argument("--rate", type=float, help="requests/s that arrive at random, at most --streams at once")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--duration-s", type=float, default=5.0)
    parser.add_argument("--warm-up-s", type=float, default=0.0, help="before it; not in the figures")
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
