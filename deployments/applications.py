"""The Serve applications: raymux itself, and one per model variant."""

from __future__ import annotations

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.handle import DeploymentHandle

from autoscaling.cluster import Strategy
from catalog.catalog import VariantSpec
from catalog.gpus import GpuShape
from catalog.loading import APPLICATION, MODEL_MANAGER
from catalog.models import VariantSettings

ENGINE_DEPLOYMENT = "Engine"


def manager_handle() -> DeploymentHandle:
    """A handle to the model manager, from any replica of the cluster."""
    return serve.get_deployment_handle(MODEL_MANAGER, app_name=APPLICATION)


def placement(settings: VariantSettings) -> tuple[list[dict[str, float]], Strategy]:
    """The bundles that a replica of the variant reserves, and how they are spread over nodes."""
    shape = GpuShape.parse(settings.shape)
    bundle = {"GPU": 1.0, "CPU": settings.num_cpus / max(1, shape.count), f"accelerator_type:{shape.type}": 0.001}
    return ([bundle] * shape.count if shape.count else [{"CPU": settings.num_cpus}]), "STRICT_PACK"


def engine_application(spec: VariantSpec) -> serve.Application:
    """The Serve application that runs a variant; deploying it starts its first replica."""
    from deployments.engine.replica import EngineReplica

    shape = GpuShape.parse(spec.settings.shape)
    actor_options: dict = {"num_cpus": spec.settings.num_cpus}
    placement: dict = {}
    if shape.count == 1:
        actor_options |= {"num_gpus": 1, "accelerator_type": shape.type}
    elif shape.count > 1:
        bundle = {"GPU": 1, "CPU": 1, f"accelerator_type:{shape.type}": 0.001}
        placement = {
            "placement_group_bundles": [{"CPU": spec.settings.num_cpus or 0.001}, *[bundle] * shape.count],
            "placement_group_strategy": "STRICT_PACK",
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
        **placement,
    )
    return deployment.bind(spec)
