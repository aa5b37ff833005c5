"""The panel of fine-tuning jobs, on a stream of events that the test writes."""

from __future__ import annotations

import json
import time
from typing import Any

from playwright.sync_api import expect

from tests.dashboard.browser import SIZES, Dashboard
from tests.dashboard.conftest import ADMIN_KEY


def job(id: str = "ftjob-1", **changes: Any) -> dict[str, Any]:
    now_s = time.time()
    fields = {
        "id": id, "name": f"peft:assistant-4b:{id}", "model": "assistant-4b", "status": "running",
        "created_at_s": now_s - 90, "started_at_s": now_s - 80, "finished_at_s": None, "gpu": "H100", "step": 12,
        "num_steps": 30, "tokens_per_second": 1234.5, "waits_for": None, "error": None,
        "curve": [[step, 2.0 / step, 2.2 / step if step % 4 == 0 else None] for step in range(1, 13)],
    }  # fmt: skip
    return {**fields, **changes}


def tell(dashboard: Dashboard, *jobs: dict[str, Any]) -> None:
    """Have the page's stream be one snapshot with these jobs."""
    caller = {"tenant": "default", "key": None, "is_admin": True}
    told = {"now_s": time.time(), "caller": caller, "jobs": {each["id"]: each for each in jobs}}
    dashboard.page.route(
        "**/v1/events",
        lambda route: route.fulfill(
            content_type="text/event-stream", body=f"event: snapshot\ndata: {json.dumps(told)}\n\n"
        ),
    )
    dashboard.open(ADMIN_KEY)


def test_a_job_is_shown_with_the_curve_of_its_loss(dashboard: Dashboard) -> None:
    ended = {"status": "failed", "finished_at_s": time.time() - 60, "error": "The loss is no number.", "curve": []}
    tell(dashboard, job(), job("ftjob-2", **ended), job("ftjob-3", status="queued", waits_for="It waits.", curve=[]))
    panel = dashboard.page.locator("#jobs")
    expect(panel).to_be_visible()
    shown = panel.locator("li").filter(has_text="ftjob-1")
    expect(shown).to_contain_text("running 12/30")
    expect(shown).to_contain_text("1,235 tokens/s on H100")
    expect(panel).to_contain_text("The loss is no number.")
    expect(panel).to_contain_text("It waits.")
    points = shown.locator("polyline.training").get_attribute("points") or ""
    assert len(points.split()) == 12
    assert len((shown.locator("polyline.validation").get_attribute("points") or "").split()) == 3
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert heights == sorted(heights), "the loss falls"
    expect(panel.locator("svg:visible")).to_have_count(1)
    for width, height in SIZES.items():
        dashboard.page.set_viewport_size({"width": width, "height": height})
        assert dashboard.overflow_px == 0, width


def test_without_jobs_there_is_no_panel(dashboard: Dashboard) -> None:
    tell(dashboard)
    expect(dashboard.page.locator("#jobs")).to_be_hidden()
