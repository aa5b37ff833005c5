"""The Serve applications: raymux itself, and one per model variant."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.handle import DeploymentHandle

from autoscaling.placement import place
from catalog.catalog import VariantSpec
from catalog.loading import APPLICATION, MODEL_MANAGER
from deployments.preload.keeper import can_be_preloaded, py_executable

ENGINE_DEPLOYMENT = "Engine"


def manager_handle() -> DeploymentHandle:
    """A handle to the model manager, from any replica of the cluster."""
    return serve.get_deployment_handle(MODEL_MANAGER, app_name=APPLICATION)


def engine_application(
    spec: VariantSpec, node_id: str | None = None, *, is_preloaded: bool = False
) -> serve.Application:
    """The Serve application that runs a variant, on the given node if any; deploying it starts its first replica.

    `is_preloaded`: its replicas begin in processes of the pool that has vLLM imported, where there is one.
    """
    from deployments.engine.replica import EngineReplica

    placement = place(spec.settings)
    actor_options: dict[str, Any] = {"num_cpus": placement.num_cpus}
    if placement.num_gpus:
        actor_options |= {"num_gpus": placement.num_gpus, "accelerator_type": placement.accelerator_type}
    if node_id is not None:
        actor_options["label_selector"] = {"ray.io/node-id": node_id}
    if is_preloaded and can_be_preloaded(spec):
        actor_options["runtime_env"] = {"py_executable": py_executable()}
    group: dict[str, Any] = {}
    if placement.is_group:
        group = {
            "placement_group_bundles": [dict(bundle) for bundle in placement.bundles],
            "placement_group_strategy": placement.strategy,
        }
    deployment = serve.deployment()(EngineReplica).options(
        name=ENGINE_DEPLOYMENT,
        ray_actor_options=actor_options,
        max_ongoing_requests=10_000,
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=spec.lifecycle.drain_timeout_s,
        autoscaling_config=AutoscalingConfig(
            min_replicas=0,
            initial_replicas=1,
            max_replicas=spec.settings.max_replicas,
            upscale_delay_s=0,
            downscale_delay_s=0,
            downscale_to_zero_delay_s=0,
            look_back_period_s=2,
            metrics_interval_s=1,
            policy=AutoscalingPolicy(
                policy_function="deployments.scaling:ServePolicy",
                policy_kwargs={
                    "idle_timeout_s": spec.lifecycle.idle_timeout_s,
                    "target_ongoing_requests": spec.settings.target_ongoing_requests,
                },
            ),
        ),
        **group,
    )
    return deployment.bind(spec)
