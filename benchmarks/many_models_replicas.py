"""`python -m benchmarks.many_models_replicas --number N`: reports to the manager as of N replicas that are not there.

What a replica's report costs the manager and the gateways does not depend on the replica. Each reports once a second,
with another load each time. Prints `begin` when all have reported, and runs until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import ray

from catalog.replicas import ReplicaReport, ReplicaState
from deployments.applications import manager_handle


async def main(arguments: list[str]) -> None:
    """Report for ever."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_models_replicas")
    parser.add_argument("--number", type=int, default=20)
    number = parser.parse_args(arguments).number
    ray.init(log_to_driver=False)
    manager = manager_handle()
    await asyncio.gather(*(manager.report.remote(_report(replica, 0)) for replica in range(number)))
    print("begin", flush=True)
    turn = 0
    while True:
        begun_s = time.monotonic()
        for replica in range(number):
            turn += 1
            manager.report.remote(_report(replica, turn))
            await asyncio.sleep(max(0.0, begun_s + (replica + 1) / number - time.monotonic()))


def _report(replica: int, turn: int) -> ReplicaReport:
    return ReplicaReport(
        replica_id=f"reports-{replica}",
        variant=f"model-{replica:04}@CPU",
        fingerprint="0" * 16,
        state=ReplicaState.READY,
        sent_at_s=time.time(),
        address="127.0.0.1:9",
        secret="s" * 43,
        running=1 + turn % 7,
        kv_usage_ratio=turn % 100 / 100,
        used_at_s=time.time(),
        node="127.0.0.1",
        pid=1,
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
