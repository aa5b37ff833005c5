"""Metrics of several processes added up: what one process has counted, as a value that can be sent and merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

# How often a gateway tells the manager what it has counted.
PUSH_INTERVAL_S = 2.0

Labels = tuple[tuple[str, str], ...]


class Family(NamedTuple):
    """One metric: its Prometheus type, its help, and the value of each sample by its name and labels."""

    name: str
    type: str
    help: str
    samples: dict[tuple[str, Labels], float]


Snapshot = dict[str, Family]


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """What a process has counted since it began."""
    return _families(registry.collect(), {})


def samples_of(child: MetricWrapperBase, labels: Mapping[str, str]) -> Snapshot:
    """What one child of a metric with labels has counted."""
    return _families(child.collect(), labels)


def update(known: Snapshot, changes: Snapshot) -> None:
    """Take the newer values over into `known`: those of counters and histograms that are there, and all of a gauge."""
    for name, family in changes.items():
        if name in known and family.type != "gauge":
            known[name].samples.update(family.samples)
        else:
            known[name] = family


def parsed(text: str, labels: Mapping[str, str]) -> Snapshot:
    """What Prometheus's text format says, with more labels on each sample. Raises ValueError for anything else."""
    return _families(text_string_to_metric_families(text), labels)


def _families(metrics: Iterable[Metric], labels: Mapping[str, str]) -> Snapshot:
    return {
        metric.name: Family(
            metric.name,
            metric.type,
            metric.documentation,
            {
                (sample.name, tuple(sorted({**sample.labels, **labels}.items()))): float(sample.value)
                for sample in metric.samples
                if not sample.name.endswith("_created")
            },
        )
        for metric in metrics
    }


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of all: of counters, of each bucket of a histogram, and of gauges, which here all count things."""
    total: Snapshot = {}
    for each in snapshots:
        for name, family in each.items():
            known = total.get(name)
            if known is None:
                total[name] = family._replace(samples=dict(family.samples))
                continue
            for key, value in family.samples.items():
                known.samples[key] = known.samples.get(key, 0.0) + value
    return total


def counted(snapshot: Snapshot) -> Snapshot:
    """Without the gauges: what stays true of a process that has ended."""
    return {name: family for name, family in snapshot.items() if family.type != "gauge"}


def exposition(snapshot: Snapshot) -> bytes:
    """Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Kept(snapshot))
    return generate_latest(registry)


class _Kept(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for family in self._snapshot.values():
            metric = Metric(family.name, family.help, family.type)
            for (name, labels), value in family.samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


def to_json(snapshot: Snapshot) -> list:
    """The snapshot as JSON holds it."""
    return [
        [
            family.name,
            family.type,
            family.help,
            [[name, labels, value] for (name, labels), value in family.samples.items()],
        ]
        for family in snapshot.values()
    ]


def from_json(value: list) -> Snapshot:
    """What `to_json` made. Raises ValueError or TypeError for anything else."""
    found = {}
    for name, type_, help_, samples in value:
        kept = {
            (sample, tuple((key, text) for key, text in labels)): float(number) for sample, labels, number in samples
        }
        found[name] = Family(name, type_, help_, kept)
    return found
