"""One engine replica: a Serve replica that runs an engine and its HTTP server, and tells the manager how it fares."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ray
import uvicorn
from ray import serve

from catalog.catalog import AdapterSpec, VariantSpec
from catalog.replicas import ReplicaReport, ReplicaState, StartStep
from catalog.sources import SourceNotFound
from deployments.applications import manager_handle
from deployments.engine.abandoned import close_abandoned_streams
from deployments.engine.adapters import AdapterShelf
from deployments.engine.base import Engine
from deployments.engine.door import Door, Tally
from deployments.engine.emulator import EmulatedEngineServer
from deployments.engine.group import join_group
from deployments.engine.sleeper import Sleeper
from deployments.garbage import spare_what_stays
from deployments.manager.view import StayTerms
from deployments.sources.bring import Sources

logger = logging.getLogger("ray.serve")

REPORT_INTERVAL_S = 1.0
# At most, of one with nothing to do. A report costs manager and replica some milliseconds, whatever it says.
MAX_RESTING_INTERVAL_S = 2.0
WATCH_INTERVAL_S = 0.1

_PATH = re.compile(r"(?:/[\w.@-]+){2,}/?")


class EngineReplica:
    """The class Serve deploys for a variant; its constructor returns when the engine is ready."""

    async def __init__(self, spec: VariantSpec) -> None:
        context = serve.get_replica_context()
        self._spec = spec
        self._manager = manager_handle()
        self._tally = Tally()
        self._engine = make_engine(spec)
        sources = Sources(spec.source_cache)
        self._shelf = AdapterShelf(self._engine, spec.adapters, spec.source, sources) if spec.adapters else None
        self._step_began_s = time.time()
        self._report = ReplicaReport(
            replica_id=context.replica_id.unique_id,
            variant=spec.key,
            fingerprint=spec.fingerprint,
            state=ReplicaState.STARTING,
            sent_at_s=time.time(),
            created_at_s=time.time(),
            node=ray.util.get_node_ip_address(),
            pid=os.getpid(),
        )
        self._changed = asyncio.Event()
        self._door: Door | None = None
        self._terms = StayTerms(0.0, spec.lifecycle.idle_timeout_s)
        self._sleeper: Sleeper | None = None
        self._tasks = [asyncio.create_task(self._keep_reporting())]
        try:
            await self._start()
        except Exception as error:
            logger.exception("engine of %s failed to start", spec.key)
            await self._leave(ReplicaState.FAILED, reason=_reason(error))
            raise
        self._tasks.append(asyncio.create_task(self._watch_engine()))
        spare_what_stays()

    async def _start(self) -> None:
        close_abandoned_streams()
        await self._start_engine()
        # Else a replica whose start outlasts the idle timeout would leave at once.
        self._tally.restart_idle_time()
        secret = secrets.token_urlsafe(32)
        self._door = Door(self._engine.app, secret, self._shelf, self._tally, self._sleeper, self._engine.is_alive)
        self._server, address = await start_server(self._door, self._host())
        self._end_step()
        self._say(state=ReplicaState.READY, step=None, address=address, secret=secret)

    async def _start_engine(self) -> None:
        if self._spec.settings.sleep_group is None:
            await self._engine.start(self._enter_step)
            return
        self._sleeper = await join_group(self._spec, self._engine, self._report.replica_id)
        await self._sleeper.begin(lambda: self._engine.start(self._enter_step))
        self._tasks.append(asyncio.create_task(self._watch_sleeper(self._sleeper)))

    async def _watch_sleeper(self, sleeper: Sleeper) -> None:
        """Take the replica out when its engine does not sleep or wake, or the owner of its GPUs is gone."""
        try:
            await sleeper.ended()
        except Exception as error:
            logger.exception("engine of %s can take no further turn", self._spec.key)
            await self._leave(ReplicaState.GONE, reason=_reason(error))
            os._exit(1)

    def _host(self) -> str:
        return "127.0.0.1" if self._spec.replica_host == "loopback" else self._report.node

    def _enter_step(self, step: StartStep) -> None:
        self._end_step()
        self._say(step=step)

    def _end_step(self) -> None:
        now_s = time.time()
        if self._report.step is not None:
            durations = {**self._report.step_durations_s, self._report.step: round(now_s - self._step_began_s, 3)}
            self._report = replace(self._report, step_durations_s=durations)
        self._step_began_s = now_s

    def _say(self, **changes: Any) -> None:
        self._report = replace(self._report, **changes)
        self._changed.set()

    def _snapshot(self) -> ReplicaReport:
        load = self._engine.load()
        # The manager would send the next requests here, if the last report before `_watch_engine` said so.
        has_died = self._report.is_ready and not self._engine.is_alive()
        return replace(
            self._report,
            state=ReplicaState.GONE if has_died else self._report.state,
            sent_at_s=time.time(),
            running=load.running,
            waiting=load.waiting + (self._sleeper.num_waiting if self._sleeper else 0),
            is_asleep=self._sleeper is not None and self._sleeper.is_asleep,
            kv_usage_ratio=load.kv_usage_ratio,
            kv_capacity_tokens=load.kv_capacity_tokens,
            used_at_s=self._tally.used_at_s,
            completion_tokens=self._tally.completion_tokens,
            adapters=self._shelf.names if self._shelf else (),
            busy_adapters=self._shelf.busy_names if self._shelf else (),
        )

    async def _keep_reporting(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            await self._send()
            # The answer says how long it may stay, which must come well before its time is up.
            resting_s = min(MAX_RESTING_INTERVAL_S, self._terms.idle_timeout_s / 4)
            rest_until_s = loop.time() + resting_s - REPORT_INTERVAL_S / 2
            while not self._changed.is_set():
                try:
                    await asyncio.wait_for(self._changed.wait(), REPORT_INTERVAL_S)
                except TimeoutError:
                    if self._is_busy() or loop.time() > rest_until_s:
                        break

    def _is_busy(self) -> bool:
        return self._engine.load().is_busy or (self._sleeper is not None and self._sleeper.num_waiting > 0)

    async def _send(self) -> None:
        try:
            self._terms = await asyncio.wait_for(self._manager.report.remote(self._snapshot()), 5)
        except Exception as error:
            # The manager may be restarting; it learns of this replica from the next report.
            logger.warning("report to the manager failed: %s", type(error).__name__)

    async def _watch_engine(self) -> None:
        """Report at once when the engine has nothing left to do, and take the replica out the moment it dies.

        vLLM tells of its death by a flag only; Serve would need three failed health checks.
        """
        was_busy = False
        while self._engine.is_alive():
            is_busy = self._engine.load().is_busy
            if was_busy and not is_busy:
                self._changed.set()
            was_busy = is_busy
            await asyncio.sleep(WATCH_INTERVAL_S)
        logger.error("engine of %s died", self._spec.key)
        await self._leave(ReplicaState.GONE, reason="the engine process died")
        os._exit(1)

    async def _leave(self, state: ReplicaState, reason: str = "") -> None:
        """The last report. No further one may follow it."""
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._report = replace(self._report, state=state, reason=reason)
        await self._send()

    # What Serve calls.

    async def wake(self) -> None:
        """Does nothing: that the call runs means that a replica is there."""

    async def hold_adapter(self, spec: AdapterSpec) -> ReplicaReport:
        """Load an adapter here, where Serve's multiplexing sent the call, and say where here is."""
        if self._shelf is None:
            raise RuntimeError(f"{self._spec.key} serves no adapters")
        async with self._sleeper.awake() if self._sleeper else contextlib.nullcontext(), self._shelf.lease(spec):
            await self.check_health()
            self._changed.set()
            return self._snapshot()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """For Serve's autoscaler (`deployments.scaling`); a replica that is kept does not count as idle.

        Serve asks several times a second, and would have a thread answer if it were not a coroutine.
        """
        is_held = time.time() < self._terms.held_until_s
        return {
            "running": float(self._tally.running),
            "idle_s": 0.0 if is_held else self._tally.idle_s,
            "idle_timeout_s": self._terms.idle_timeout_s,
            "kv_ratio": self._engine.load().kv_usage_ratio,
        }

    async def check_health(self) -> None:
        if not self._engine.is_alive():
            raise RuntimeError("the engine died")

    async def __del__(self) -> None:
        """Serve's drain hook: refuse new requests, let running ones end, stop the engine."""
        if self._door is None:
            # It never started, and has said so.
            return
        self._door.draining = True
        self._say(state=ReplicaState.DRAINING)
        await self._tally.wait_empty()
        await self._leave(ReplicaState.GONE, reason="left")
        self._server.should_exit = True
        await self._engine.stop()


def make_engine(spec: VariantSpec) -> Engine:
    """The engine that the configuration names; there is no fallback from one to another."""
    if spec.engine.kind == "emulated":
        return EmulatedEngineServer(spec.engine.emulated, spec.served_names[0])
    from deployments.engine.vllm_engine import VLLMEngine

    return VLLMEngine(spec)


async def start_server(app: Any, host: str) -> tuple[uvicorn.Server, str]:
    """Serve `app` on a free port of `host`. Returns the server and `host:port`."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind((host, 0))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http="httptools", timeout_keep_alive=75,
        ws="none", server_header=False, date_header=False,
    )  # fmt: skip
    server = _QuietServer(config)
    server.task = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:
        await asyncio.sleep(0.01)
        if server.task.done():
            raise RuntimeError("the replica's HTTP server did not start")
    port = sock.getsockname()[1]
    return server, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _QuietServer(uvicorn.Server):
    """A uvicorn that leaves the process's signals to Ray."""

    task: asyncio.Task[None]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _reason(error: Exception) -> str:
    """One line for users: what went wrong, without a path or a stack."""
    if isinstance(error, SourceNotFound):
        return error.for_callers
    text = " ".join(str(error).split()) or type(error).__name__
    return _PATH.sub("<path>", text)[:300]
