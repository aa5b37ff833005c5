"""Where a job's training may run now, and what it says while that is nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from autoscaling.cluster import Cluster, Footing
from autoscaling.placement import Workers, workers
from catalog.catalog import VariantSpec

NO_TURN = "The job waits for its turn: as many others train as may."


class Place(NamedTuple):
    """A shape, and the workers that train on it."""

    shape: str
    workers: Workers


def find_place(variants: Sequence[VariantSpec], cluster: Cluster, num_cpus: float) -> Place | str:
    """The first of the variants' shapes that is free, else the first for which a node may be added, else why none is.

    `variants` are in the order of preference.
    """
    places = [Place(each.settings.shape, workers(each.settings, num_cpus)) for each in variants]
    footings = [cluster.footing(place.workers.bundles, place.workers.strategy) for place in places]
    for wanted in (Footing.NOW, Footing.ADDABLE):
        for place, footing in zip(places, footings, strict=True):
            if footing is wanted:
                return place
    shapes = " or ".join(place.shape for place in places)
    if Footing.OCCUPIED in footings:
        return f"The job waits for its place: others hold what it needs of {shapes}."
    return f"The job waits: no node of this cluster has room for {shapes}, nor may one be added. See GET /v1/gpus."
