"""Scaling decisions on their way from the Serve controller, where our policy makes them, to the manager.

A policy has no public way to tell anybody its reason: Serve 2.60 keeps only numbers of replicas. Both processes reach
the cluster's key-value store (`ray.experimental.internal_kv`, served by the GCS), which outlives either.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor

from ray.experimental import internal_kv

from catalog.replicas import ScalingDecision

logger = logging.getLogger("ray.serve")

NUM_KEPT = 10
_NAMESPACE = "raymux-scaling"

# The controller must not wait for the store.
_writing = ThreadPoolExecutor(1, thread_name_prefix="decisions")


def read(app_name: str) -> tuple[ScalingDecision, ...]:
    """An application's last decisions, oldest first; none where nothing can be read. Blocks for a round trip."""
    try:
        kept = internal_kv._internal_kv_get(app_name, namespace=_NAMESPACE)
        return tuple(ScalingDecision(*each) for each in json.loads(kept or b"[]"))
    except Exception as error:
        logger.warning("scaling decisions cannot be read: %s", type(error).__name__)
        return ()


def note(app_name: str, decision: ScalingDecision) -> None:
    """Add a decision, in the background."""
    _writing.submit(_append, app_name, decision)


def forget(app_name: str) -> None:
    """Drop an application's decisions. Blocks for a round trip."""
    try:
        internal_kv._internal_kv_del(app_name, namespace=_NAMESPACE)
    except Exception as error:
        logger.warning("scaling decisions could not be dropped: %s", type(error).__name__)


def _append(app_name: str, decision: ScalingDecision) -> None:
    try:
        kept = [*read(app_name), decision][-NUM_KEPT:]
        internal_kv._internal_kv_put(app_name, json.dumps(kept), overwrite=True, namespace=_NAMESPACE)
    except Exception as error:
        # Nothing depends on it: the next decision is written again.
        logger.warning("a scaling decision could not be kept: %s", type(error).__name__)
