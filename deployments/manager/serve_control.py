"""What the manager does to Serve: deploy, delete and call the application of a variant.

Serve's functions block, so each runs in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from catalog.catalog import AdapterSpec, VariantSpec
from catalog.errors import RaymuxError
from catalog.replicas import ReplicaReport, ScalingDecision
from deployments import decisions
from deployments.applications import ENGINE_DEPLOYMENT, engine_application
from deployments.engine.leases import GpuSet
from deployments.manager.gpu_owners import GpuOwners

logger = logging.getLogger("ray.serve")

# An adapter that broke a replica off may do the same to the next one.
HOLD_ATTEMPTS = 2
# Longer than a replica lives whose engine has died.
HOLD_PAUSE_S = 0.5


class ServeControl:
    """Serve's API as the manager needs it."""

    def __init__(self) -> None:
        # Whether replicas begin in processes that have vLLM imported.
        self.is_preloaded = False
        self._owners = GpuOwners()
        # By application, for variants with a sleep group: on whose GPUs it was placed, and who places or deletes it.
        self._placed: dict[str, tuple[str, str]] = {}
        self._placing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def deploy(self, spec: VariantSpec) -> None:
        """Deploy or update the variant's application; returns once Serve has accepted it.

        One with a sleep group that has no GPUs yet is deployed by `wake`, once their owner has a node.
        """
        if spec.settings.sleep_group is None:
            await self._run(spec)
        elif (gpus := await self._owners.find(spec)) is not None:
            await self._place(spec, gpus)
        else:
            await self.delete(spec.app_name)

    async def _place(self, spec: VariantSpec, gpus: GpuSet) -> None:
        """Deploy where the GPUs of the variant's group are, unless it is deployed there already."""
        async with self._placing[spec.app_name]:
            if self._placed.get(spec.app_name) == (gpus.owner_id, spec.fingerprint):
                return
            # Whoever waits may leave; the deployment is not left half done, so that it can be deleted after it.
            deploying = asyncio.create_task(self._run(spec, gpus.node_id))
            try:
                await asyncio.shield(deploying)
            except asyncio.CancelledError:
                await deploying
                raise
            self._placed[spec.app_name] = (gpus.owner_id, spec.fingerprint)

    async def _run(self, spec: VariantSpec, node_id: str | None = None) -> None:
        target = serve.RunTarget(
            engine_application(spec, node_id, is_preloaded=self.is_preloaded), name=spec.app_name, route_prefix=None
        )
        await asyncio.to_thread(
            serve.run_many, [target], wait_for_ingress_deployment_creation=True, wait_for_applications_running=False
        )

    async def delete(self, app_name: str) -> None:
        """Delete an application; returns once its replicas have drained. Nothing happens if there is none."""
        async with self._placing[app_name]:
            self._placed.pop(app_name, None)
            while True:
                try:
                    return await asyncio.to_thread(serve.delete, app_name)
                except TimeoutError:
                    # Serve waits for a minute; a long generation may keep a replica for longer.
                    logger.info("%s still drains", app_name)

    async def deployed(self) -> set[str]:
        """Names of the applications that run variants."""
        status = await asyncio.to_thread(serve.status)
        return {name for name in status.applications if name.startswith("model-")}

    async def end_replica(self, app_name: str, replica_id: str) -> None:
        """Kill a replica that hangs; Serve starts another one if one is needed. Nothing happens if it is gone."""
        try:
            # Serve 2.60 has no way to end one replica, but names each one's actor like this.
            actor = await asyncio.to_thread(
                ray.get_actor, f"SERVE_REPLICA::{app_name}#{ENGINE_DEPLOYMENT}#{replica_id}", namespace="serve"
            )
        except ValueError:
            return
        logger.warning("a replica of %s hangs and is killed", app_name)
        ray.kill(actor)

    async def decisions(self, app_name: str) -> tuple[ScalingDecision, ...]:
        """The last changes of the application's number of replicas, oldest first."""
        return await asyncio.to_thread(decisions.read, app_name)

    async def forget_decisions(self, app_name: str) -> None:
        """Drop them; the variant has left the catalog."""
        await asyncio.to_thread(decisions.forget, app_name)

    async def deploy_failure(self, app_name: str) -> str | None:
        """Why Serve gave the application up, or None while it has not."""
        status = await asyncio.to_thread(serve.status)
        application = status.applications.get(app_name)
        if application is None or application.status != ApplicationStatus.DEPLOY_FAILED:
            return None
        return (application.message or "Serve could not deploy it").strip().splitlines()[-1][:300]

    async def wake(self, spec: VariantSpec) -> None:
        """Return when a replica of the variant runs; a call that waits in Serve's queue starts one."""
        if spec.settings.sleep_group is not None:
            await self._place(spec, await self._owners.ensure(spec))
        await self._handle(spec).wake.remote()

    async def hold_adapter(self, spec: VariantSpec, adapter: AdapterSpec) -> ReplicaReport:
        """Have Serve's multiplexing choose a replica for the adapter and load it there.

        A replica that dies meanwhile leaves it to the next one, for which Serve has the call wait. Raises the
        RaymuxError that the replica raised, such as AdapterRejected, and a RayError after HOLD_ATTEMPTS.
        """
        handle = self._handle(spec).options(multiplexed_model_id=adapter.name)
        attempts_left = HOLD_ATTEMPTS
        while True:
            try:
                return await handle.hold_adapter.remote(adapter)
            except RayError as error:
                if isinstance(error, RayTaskError) and isinstance(error.cause, RaymuxError):
                    raise error.cause from None
                attempts_left -= 1
                if attempts_left == 0:
                    raise
                logger.warning("%s broke off while it loaded %s: %s", spec.key, adapter.name, type(error).__name__)
            await asyncio.sleep(HOLD_PAUSE_S)

    def _handle(self, spec: VariantSpec) -> DeploymentHandle:
        return serve.get_deployment_handle(ENGINE_DEPLOYMENT, app_name=spec.app_name)
