"""Ray Serve's own request routers, driven by the simulation of replica choice: the real classes, whole.

Private imports, of Ray 2.60. A router gets requests as a deployment handle gives them (`_choose_replica_for_request`),
and is told of the rest as `ray.serve._private.router` tells it: that a request was sent, how many a replica has
(it says so as it accepts one, without delay here), and that one has ended. No cluster runs: a replica that is asked for
its queue length answers from the simulation, and the prefix tree is called in place of the actor that holds it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from types import SimpleNamespace
from typing import Any, cast

from ray.llm._internal.serve.routing_policies.prefix_aware import prefix_aware_router
from ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router import PrefixCacheAffinityRouter
from ray.llm._internal.serve.routing_policies.prefix_aware.prefix_tree import PrefixTree
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID, RequestMetadata
from ray.serve._private.request_router.common import PendingRequest
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve._private.request_router.replica_wrapper import RunningReplica
from ray.serve._private.request_router.request_router import RequestRouter

from benchmarks.ray_policy import Clock
from benchmarks.replica_simulation import Replica, Request

DEPLOYMENT = DeploymentID("Engine", "model")
# A block is one character, in planes that hold enough of them: blocks are alike or have nothing in common.
FIRST_CHARACTER = 0x10000


class _Wrapper:
    """What a router knows a replica by."""

    max_ongoing_requests = 1_000_000
    node_id = "node"
    availability_zone = None
    multiplexed_model_ids: frozenset[str] = frozenset()

    def __init__(self, replica: Replica) -> None:
        self.number = replica.number
        self.replica_id = ReplicaID(f"replica-{replica.number}", DEPLOYMENT)
        self.num_ongoing = 0

    async def get_queue_len(self, *, deadline_s: float) -> int:
        return self.num_ongoing


class _Tree:
    """The prefix tree as its actor would be called."""

    def __init__(self) -> None:
        self._tree = PrefixTree()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._tree, name))


class RayRouters:
    """One router for each gateway; the prefix tree is one for all, as in a cluster."""

    def __init__(
        self, router_class: type[RequestRouter], num_gateways: int, replicas: list[Replica], **options: Any
    ) -> None:
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        random.seed(0)
        self._clock = Clock()
        self._loop = asyncio.new_event_loop()
        self._wrappers = [_Wrapper(replica) for replica in replicas]
        if router_class is PrefixCacheAffinityRouter:
            module = cast(Any, prefix_aware_router)
            module.ray, module.time = SimpleNamespace(get=lambda value: value), self._clock
            options["tree_actor"] = _Tree()
        self._routers = self._loop.run_until_complete(self._start(router_class, num_gateways, options))

    async def _start(
        self, router_class: type[RequestRouter], num_gateways: int, options: dict[str, Any]
    ) -> list[RequestRouter]:
        routers = []
        for _ in range(num_gateways):
            router = router_class(
                deployment_id=DEPLOYMENT,
                handle_source=DeploymentHandleSource.REPLICA,
                use_replica_queue_len_cache=True,
                get_curr_time_s=self._clock.time,
            )
            router.initialize_state(**options)
            router.update_replicas(cast("list[RunningReplica]", self._wrappers))
            routers.append(router)
        return routers

    def choose(self, request: Request, now_s: float) -> int:
        self._clock.now_s = now_s
        wrapper = self._loop.run_until_complete(self._route(request))
        return wrapper.number

    async def _route(self, request: Request) -> _Wrapper:
        router, key = self._routers[request.gateway], str(request.key)
        text = "".join([chr(FIRST_CHARACTER + block) for block in request.turn.blocks])
        pending = PendingRequest([SimpleNamespace(prompt=text)], {}, RequestMetadata(key, key))
        wrapper = cast(Any, await router._choose_replica_for_request(pending))
        router.on_send_request(wrapper.replica_id)
        wrapper.num_ongoing += 1
        router.on_new_queue_len_info(wrapper.replica_id, wrapper.num_ongoing)
        router.on_request_routed(pending, wrapper.replica_id, cast(Any, None))
        return wrapper

    def first_token(self, request: Request, now_s: float) -> None: ...

    def ended(self, request: Request, now_s: float) -> None:
        self._clock.now_s = now_s
        wrapper = self._wrappers[request.replica]
        wrapper.num_ongoing -= 1
        self._routers[request.gateway].decrement_queue_len_cache(wrapper.replica_id)

    def reported(self, replica: Replica, now_s: float) -> None: ...


def power_of_two(num_gateways: int, replicas: list[Replica]) -> RayRouters:
    """Serve's default: two replicas at random, the one of them with fewer requests."""
    return RayRouters(PowerOfTwoChoicesRequestRouter, num_gateways, replicas)


def prefix_affinity(num_gateways: int, replicas: list[Replica], **options: Any) -> RayRouters:
    """Ray Serve LLM's router for prefix caches."""
    return RayRouters(PrefixCacheAffinityRouter, num_gateways, replicas, **options)
