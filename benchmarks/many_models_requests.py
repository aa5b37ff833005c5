"""The requests of the benchmark of many models: one connection, one request after the other."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.load import percentile_ms
from benchmarks.servers import Server

TIMEOUT_S = 60
PROBE_INTERVAL_S = 0.002


@dataclass(frozen=True)
class Latency:
    """From the request out to the whole body in."""

    p50_ms: float
    p99_ms: float
    num_bytes: int


def latency(server: Server, path: str, num_requests: int, *, status: int = 200) -> Latency:
    """Of GET requests, the first one left out."""
    connection = _connect(server)
    times_s, num_bytes = [], 0
    for _ in range(num_requests + 1):
        begun_s = time.perf_counter()
        num_bytes = _get(connection, path, status)
        times_s.append(time.perf_counter() - begun_s)
    connection.close()
    return Latency(percentile_ms(times_s[1:], 0.5), percentile_ms(times_s[1:], 0.99), num_bytes)


def longest_wait_ms(server: Server, work: Callable[[], object]) -> float:
    """The longest that /health, which needs nothing but the gateway's event loop, takes while `work` runs."""
    connection, times_s = _connect(server), [0.0]
    _get(connection, "/health")
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work)
        while not working.done():
            begun_s = time.perf_counter()
            _get(connection, "/health")
            times_s.append(time.perf_counter() - begun_s)
            time.sleep(PROBE_INTERVAL_S)
        working.result()
    connection.close()
    return max(times_s) * 1000


def register(server: Server, name: str) -> None:
    """Add an adapter at run time, and let every gateway hear of it."""
    connection = _connect(server)
    body = json.dumps({"name": name, "source": "models/adapters/job_pirate"})
    connection.request("POST", "/v1/models", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    text = reply.read()
    if reply.status != 201:
        raise RuntimeError(f"{name} was not registered: {text.decode(errors='replace')[:300]}")
    connection.close()
    time.sleep(0.5)


def _connect(server: Server) -> http.client.HTTPConnection:
    url = urlsplit(server.base_url)
    return http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port, timeout=TIMEOUT_S)


def _get(connection: http.client.HTTPConnection, path: str, status: int = 200) -> int:
    """The size of the body."""
    connection.request("GET", path)
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != status:
        raise RuntimeError(f"{path} answered {reply.status}: {body.decode(errors='replace')[:300]}")
    return len(body)
