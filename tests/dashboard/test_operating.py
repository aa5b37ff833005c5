"""What the page's buttons do to models, and what they say where that is refused."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import expect

from tests.dashboard.browser import Dashboard
from tests.dashboard.conftest import ADMIN_KEY, USER_KEY
from tests.server import RunningServer

# Serve decides every few seconds, and the manager reads its reasons when the number of replicas has changed.
DECISION_TIMEOUT_MS = 30_000


def press(dashboard: Dashboard, verb: str, model: str) -> None:
    dashboard.page.get_by_role("button", name=f"{verb} {model}", exact=True).click()


def test_a_warmed_model_shows_its_start_step_by_step(dashboard: Dashboard, server: RunningServer) -> None:
    dashboard.open(ADMIN_KEY)
    press(dashboard, "Warm", "coder-7b")
    expect(dashboard.page.locator("#said")).to_have_text("coder-7b is being warmed.")
    start = dashboard.page.locator("#start-list > li", has_text="coder-7b")
    expect(start).to_contain_text("under way")
    expect(dashboard.row("coder-7b").locator(".pill")).to_have_text("Ready")
    expect(start).not_to_contain_text("under way")
    expect(start.locator(".steps")).to_have_text(
        re.compile(r"^scheduling [\d.]+ m?s · (importing [\d.]+ m?s · )?loading 1\.\d s$")
    )
    expect(dashboard.row("coder-7b").get_by_role("button", name="Keep warm coder-7b")).to_be_visible()


def test_a_model_is_stopped_and_started_again(dashboard: Dashboard, server: RunningServer) -> None:
    dashboard.open(ADMIN_KEY)
    press(dashboard, "Stop", "bge-base-en")
    dialog = dashboard.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Stop bge-base-en?")
    dialog.get_by_role("button", name="Cancel").click()
    assert server.status("bge-base-en")["state"] == "cold"
    press(dashboard, "Stop", "bge-base-en")
    dialog.get_by_role("button", name="Stop").click()
    expect(dashboard.row("bge-base-en").locator(".pill")).to_have_text("Stopped")
    press(dashboard, "Start", "bge-base-en")
    expect(dashboard.row("bge-base-en").locator(".pill")).to_have_text("Ready")


def test_without_an_admin_key_the_page_says_why_nothing_happens(dashboard: Dashboard, server: RunningServer) -> None:
    dashboard.open(USER_KEY)
    expect(dashboard.page.locator("#models-note")).to_contain_text("Read only")
    press(dashboard, "Stop", "assistant-4b")
    dashboard.page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    notice = dashboard.page.get_by_role("alert").get_by_text("This endpoint needs an admin key.")
    expect(notice).to_be_visible()
    assert server.status("assistant-4b")["state"] == "ready"
    dashboard.page.get_by_role("button", name="Dismiss").click()
    expect(notice).to_have_count(0)


def test_a_model_that_grows_says_why(dashboard: Dashboard, server: RunningServer) -> None:
    dashboard.open(ADMIN_KEY)
    body = {"model": "assistant-4b", "messages": [{"role": "user", "content": "Go on."}], "max_tokens": 900}
    with ThreadPoolExecutor(12) as pool, server.client() as client:
        for _ in range(12):
            pool.submit(client.post, "/v1/chat/completions", json=body)
        decision = dashboard.page.locator("#decision-list > li", has_text="1 → 2")
        expect(decision).to_contain_text("assistant-4b H100", timeout=DECISION_TIMEOUT_MS)
    assert decision.locator(".reason").inner_text()


def test_a_checkpoint_is_promoted(dashboard: Dashboard, server: RunningServer) -> None:
    name = "rl:assistant-4b:run_17:step-400"
    dashboard.open(ADMIN_KEY)
    press(dashboard, "Promote", name)
    expect(dashboard.row(name).locator(".pill")).to_have_text("Ready")
    expect(dashboard.page.get_by_role("button", name=f"Promote {name}")).to_have_count(0)


def test_an_adapter_is_warmed_on_its_base_model(dashboard: Dashboard) -> None:
    name = "peft:assistant-4b:support_tone"
    dashboard.open(ADMIN_KEY)
    press(dashboard, "Warm", name)
    expect(dashboard.row(name).locator(".pill")).to_have_text("Ready")


def test_a_start_that_fails_says_why(dashboard: Dashboard) -> None:
    dashboard.open(ADMIN_KEY)
    press(dashboard, "Warm", "vision-7b")
    expect(dashboard.row("vision-7b").locator(".pill")).to_have_text("Failed")
    expect(dashboard.row("vision-7b")).to_contain_text("Failed to start: one of its files of weights is cut short.")
