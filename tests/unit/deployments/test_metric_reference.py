"""The table of docs/observability.md names every metric there is, with its type, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from deployments.fine_tuning.metrics import TuningMetrics
from deployments.gateway.metrics import GatewayMetrics
from deployments.manager.metrics import ManagerMetrics
from deployments.metric_families import snapshot

PAGE = Path(__file__).parents[3] / "docs" / "observability.md"


def test_the_reference_lists_the_metrics_that_exist() -> None:
    listed = {
        (name, kind)
        for names, kind in re.findall(r"^\| (`.*?`) \| (counter|gauge|histogram) \|", PAGE.read_text(), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    of_manager = ManagerMetrics().snapshot() | TuningMetrics().snapshot(())
    families = (snapshot(GatewayMetrics().registry) | of_manager).values()
    assert listed == {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type) for family in families
    }
