"""Starts raymux on this machine: checks a configuration, runs it with `serve run`, and says when it is ready."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from catalog.catalog import Catalog
from catalog.fit_check import require_fit
from catalog.keys import ApiKeySettings
from catalog.loading import ConfigError, ServeConfig, load, require_keys
from catalog.packing import packed, text_of
from catalog.project import PROJECT
from catalog.sources import SourceNotFound, locate
from deployments.environment import environment_keys, receiver_secrets, redis_url, serve_environment
from deployments.ray_address import ray_address, require_answer

READY_TIMEOUT_S = 300
STOP_TIMEOUT_S = 60
POLL_S = 0.05


def launch(path: Path, log_path: Path | None, *, plain: bool) -> int:
    """Run until a signal; 0 after a clean stop, 1 when the configuration or the start is bad.

    Without a file for its log the server writes it to this process's standard output.
    """
    try:
        config = _checked(path)
    except ConfigError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    cluster = ray_address()
    where = f" on the Ray cluster at {cluster.address}" if cluster is not None else ""
    print(f"raymux: starting{where}; the log is {_shown(log_path)}", flush=True)
    # What runs, beside its log.
    running = _running_path(log_path)
    running.parent.mkdir(parents=True, exist_ok=True)
    running.write_text(text_of(packed(config.document)), encoding="utf-8")
    _on_signals(_raise_interrupt)
    with _opened(log_path) as log:
        server = subprocess.Popen(
            [shutil.which("serve", path=str(Path(sys.executable).parent)) or "serve", "run", str(running)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            env=serve_environment(fast_path=not plain),
            # A terminal's Ctrl-C reaches this process only, which then stops the server in order.
            start_new_session=True,
        )
        try:
            return _run(server, config, log_path)
        except KeyboardInterrupt:
            print("raymux: stopping", flush=True)
            return 0
        finally:
            _stop(server)


def _checked(path: Path) -> ServeConfig:
    """The configuration. Raises ConfigError when it cannot run on this machine."""
    config = load(path)
    require_keys(config.host, config.gateway, has_environment_keys=bool(_environment_keys()))
    _require_redis_url(config)
    _require_receiver_secrets(config)
    _require_sources(config)
    require_fit(config.catalog, config.catalog_at)
    _require_free_port(config.host, config.port)
    if (cluster := ray_address()) is not None:
        require_answer(cluster)
    return config


def _running_path(log: Path | None) -> Path:
    """Where the configuration that runs is written."""
    beside = log or PROJECT / "run" / "serve.log"
    return beside.with_name(f"{beside.name}.yaml")


def _opened(log: Path | None) -> AbstractContextManager[BinaryIO | None]:
    """What the server writes to; None for what this process writes to."""
    return nullcontext() if log is None else log.open("wb")


def _shown(log: Path | None) -> Path | str:
    if log is None:
        return "here"
    return log.relative_to(Path.cwd()) if log.is_relative_to(Path.cwd()) else log


def _require_sources(config: ServeConfig) -> None:
    """Raise ConfigError for weights that are not on this machine."""
    for target in Catalog(config.catalog).targets():
        if target.upstream is not None:
            continue
        source = target.adapter.source if target.adapter else target.variants[0].source
        try:
            locate(source)
        except SourceNotFound as error:
            raise ConfigError(f"{target.name}: {error}") from None


def _environment_keys() -> tuple[ApiKeySettings, ...]:
    try:
        return environment_keys()
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _require_redis_url(config: ServeConfig) -> None:
    try:
        for settings in (config.gateway.redis, config.catalog.store_redis):
            if settings is not None:
                redis_url(settings)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _require_receiver_secrets(config: ServeConfig) -> None:
    for index, receiver in enumerate(config.catalog.webhooks):
        try:
            receiver_secrets(receiver)
        except ValueError as error:
            raise ConfigError(f"{config.catalog_at}.webhooks.{index}.{error}") from None


def _require_free_port(host: str, port: int) -> None:
    """Raise ConfigError when something listens there: Serve would share the port with it silently."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(1)
        if probe.connect_ex((host, port)) == 0:
            raise ConfigError(f"http_options.port: something listens on {host}:{port} already")


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _raise_interrupt(*_: object) -> None:
    # A second signal must not cut the clean-up short.
    _on_signals(signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(server: subprocess.Popen[bytes], config: ServeConfig, log: Path | None) -> int:
    url = _url(config)
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while not _is_ready(url):
        if server.poll() is not None or time.monotonic() > deadline_s:
            print(f"raymux: did not start; the end of its log ({_shown(log)}) says why", file=sys.stderr)
            if log is not None:
                print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr)
            return 1
        time.sleep(POLL_S)
    model = config.gateway.defaults.chat or config.catalog.models[0].name
    has_keys = bool(config.gateway.keys or _environment_keys())
    key = """ -H "Authorization: Bearer $RAYMUX_API_KEY\"""" if has_keys else ""
    print(
        f"raymux: ready. Try: curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json'"
        f""" -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "What is 2+2?"}}]}}'""",
        flush=True,
    )
    code = server.wait()
    print(f"raymux: the server ended by itself ({code}); see {_shown(log)}", file=sys.stderr)
    return 1


def _url(config: ServeConfig) -> str:
    """Where this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)
    return f"http://[{host}]:{config.port}" if ":" in host else f"http://{host}:{config.port}"


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it started."""
    _on_signals(signal.SIG_IGN)
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
