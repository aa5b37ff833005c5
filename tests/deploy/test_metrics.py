"""Dashboard and rules ask for what raymux exports: every metric and label of every PromQL expression exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.project import PROJECT
from tests.deploy.conftest import Validators
from tests.deploy.exported import OF_REPLICAS, SCRAPED, engine_series, series

PROMETHEUS = PROJECT / "deploy" / "prometheus"
DASHBOARD = PROJECT / "deploy" / "grafana" / "raymux.json"
# Grafana puts them in before it asks.
GRAFANA_VARIABLES = {"$__rate_interval": "5m", "$model": ".*"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def found(document: Any, key: str) -> Iterator[str]:
    """The texts under this key, at any depth."""
    if isinstance(document, dict):
        if isinstance(document.get(key), str):
            yield document[key]
        for value in document.values():
            yield from found(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from found(value, key)


def dashboard_queries() -> list[str]:
    queries = list(found(dashboard()["panels"], "expr"))
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            queries.append(f"count by ({label}) ({metric})")
    for name, value in GRAFANA_VARIABLES.items():
        queries = [query.replace(name, value) for query in queries]
    return queries


def faults(validators: Validators, queries: list[str], known: dict[str, set[str]]) -> list[str]:
    """What the expressions ask for that is not in `known`, labels by series."""
    script = Path(__file__).with_name("promql.py")
    described = json.loads(validators.accept("python", script, text=json.dumps(queries)))
    return [fault for query, parts in zip(queries, described, strict=True) for fault in _faults(query, parts, known)]


def _faults(query: str, parts: dict[str, Any], known: dict[str, set[str]]) -> Iterable[str]:
    names = [name for name, _ in parts["selectors"]]
    for name, labels in parts["selectors"]:
        if name not in known:
            yield f"{name} is not exported: {query}"
        elif missing := set(labels) - known[name] - {"__name__"}:
            yield f"{name} has no label {sorted(missing)}: {query}"
    if not any(set(parts["grouped"]) <= known.get(name, set()) for name in names):
        yield f"no metric of it has the labels {parts['grouped']}: {query}"


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    engines = dict.fromkeys(engine_series(), OF_REPLICAS | SCRAPED)
    return series() | engines | {"up": SCRAPED}


def test_the_rules_ask_for_what_is_exported(validators: Validators, known: dict[str, set[str]]) -> None:
    assert faults(validators, [rule["expr"] for rule in rules()], known) == []


def test_the_dashboard_asks_for_what_is_exported(validators: Validators, known: dict[str, set[str]]) -> None:
    queries = dashboard_queries()
    assert len(queries) > 20
    assert faults(validators, queries, known) == []


def test_the_dashboard_shows_every_metric(known: dict[str, set[str]]) -> None:
    shown = " ".join(dashboard_queries())
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series()}
    assert {family for family in families if family not in shown} == set()


@pytest.mark.parametrize(
    "query",
    ["sum(inference_request_total)", 'inference_requests_total{modell="a"}', "sum by (gpu) (inference_requests_total)"],
)
def test_a_query_for_something_else_is_noticed(validators: Validators, known: dict[str, set[str]], query: str) -> None:
    assert len(faults(validators, [query], known)) == 1


def test_alerts_say_what_to_do_and_name_only_labels_that_they_have(known: dict[str, set[str]]) -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) > 8
    for alert in alerts:
        assert set(alert["annotations"]) == {"summary", "description"}
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])):
            assert label in alert["expr"] or label in SCRAPED or label in ("model", "state")


def test_every_rule_is_tested() -> None:
    tested = (PROMETHEUS / "rules_test.yaml").read_text()
    names = {rule.get("alert") or rule["record"] for rule in rules()}
    assert {name for name in names if name not in tested} == set()


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "promtool is missing: requirements/test_tools.sh installs it"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", PROMETHEUS / "rules.yaml"),
        ("test", "rules", PROMETHEUS / "rules_test.yaml"),
        # The key's file is where the configuration runs, not here.
        ("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yaml"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_promtool_takes_it(arguments: tuple[str | Path, ...]) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
