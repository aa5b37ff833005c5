"""The series that raymux exports, by name with their labels, as its own registries declare them."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from deployments.fine_tuning.metrics import TuningMetrics
from deployments.gateway.metrics import GatewayMetrics
from deployments.manager.metrics import ManagerMetrics

# What a scrape adds to each series, and to `up`.
SCRAPED = {"job", "instance"}
# What `GET /metrics/engines` adds to vLLM's own labels.
OF_REPLICAS = {"model", "variant", "replica"}


def series() -> dict[str, set[str]]:
    """Labels by the name of each series of `GET /metrics`, those of the scrape included."""
    registries = (GatewayMetrics().registry, ManagerMetrics()._registry, TuningMetrics()._registry)
    return {name: labels | SCRAPED for registry in registries for name, labels in _declared(registry).items()}


def _declared(registry: CollectorRegistry) -> dict[str, set[str]]:
    """A metric without a sample yet is not in what a registry collects, but its collector knows its labels."""
    found: dict[str, set[str]] = {}
    collectors: dict[Any, list[str]] = registry._collector_to_names
    for collector in collectors:
        labels = set(collector._labelnames)
        match collector._type:
            case "counter":
                found[f"{collector._name}_total"] = labels
            case "histogram":
                found[f"{collector._name}_bucket"] = labels | {"le"}
                found[f"{collector._name}_sum"] = found[f"{collector._name}_count"] = labels
            case "gauge":
                found[collector._name] = labels
            case other:
                raise AssertionError(f"a metric of a type that is not known here: {other}")
    return found


def engine_series() -> set[str]:
    """The names of vLLM's counters and gauges, read from the source of the version that is installed."""
    package = find_spec("vllm")
    assert package is not None
    assert package.origin is not None
    tree = ast.parse((Path(package.origin).parent / "v1" / "metrics" / "loggers.py").read_text(encoding="utf-8"))
    found = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        names = [
            word.value.value for word in call.keywords if word.arg == "name" and isinstance(word.value, ast.Constant)
        ]
        kind = getattr(call.func, "attr", "")
        found |= {f"{name}_total" if "counter" in kind else name for name in names}
    return found
