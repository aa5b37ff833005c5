"""The playground: answers as they come, how fast they came, and two models side by side."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.dashboard.browser import Dashboard
from tests.dashboard.conftest import USER_KEY

MEASURES = re.compile(r"^First token [\d.,]+ m?s · [\d.,]+ tokens/s · (\d+) tokens · [\d.]+ m?s in all$")


def test_an_answer_streams_and_shows_how_fast_it_came(dashboard: Dashboard) -> None:
    dashboard.open(USER_KEY)
    dashboard.choose("First", "assistant-4b")
    dashboard.page.get_by_label("Most tokens").fill("120")
    dashboard.say("Count to ten.")
    answer = dashboard.page.locator(".message.model")
    # While it comes: there is text, and the answer is not at its end.
    expect(answer).to_contain_text("one two three")
    expect(dashboard.page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    expect(answer.locator(".measures")).to_have_text(MEASURES)
    found = MEASURES.match(answer.locator(".measures").inner_text())
    assert found is not None
    assert found.group(1) == "120"
    expect(dashboard.page.locator(".message.user")).to_have_text("Count to ten.")
    expect(dashboard.page.get_by_role("button", name="Send")).to_be_enabled()


def test_what_the_server_makes_shows_in_the_table(dashboard: Dashboard) -> None:
    dashboard.open(USER_KEY)
    dashboard.choose("First", "assistant-4b")
    dashboard.page.get_by_label("Most tokens").fill("600")
    dashboard.say("Go on for a while.")
    row = dashboard.row("assistant-4b")
    expect(row.locator('[data-label="Running"]')).to_have_text("1")
    expect(row.locator('[data-label="Tokens/s"]')).to_have_text(re.compile(r"^[1-9]\d+$"))
    dashboard.page.get_by_role("button", name="Stop", exact=True).click()
    expect(dashboard.page.locator(".message.model")).to_contain_text("Stopped.")
    expect(row.locator('[data-label="Running"]')).to_have_text("0")


def test_two_models_answer_the_same_prompt(dashboard: Dashboard) -> None:
    dashboard.open(USER_KEY)
    dashboard.page.get_by_label("Compare two models").check()
    dashboard.choose("First", "assistant-4b")
    dashboard.choose("Second", "peft:assistant-4b:legal_terms")
    dashboard.say("Who are you?")
    for pane in dashboard.page.locator(".pane").all():
        expect(pane.locator(".message.user")).to_have_text("Who are you?")
        expect(pane.locator(".measures")).to_have_text(MEASURES)


def test_a_model_that_cannot_answer_says_why(dashboard: Dashboard) -> None:
    dashboard.open(USER_KEY)
    dashboard.choose("First", "vision-7b")
    dashboard.say("Hello")
    expect(dashboard.page.locator(".message.model .error")).to_contain_text("one of its files of weights is cut short")


def test_a_model_that_is_gone_is_an_error_in_words(dashboard: Dashboard) -> None:
    dashboard.open(USER_KEY)
    dashboard.choose("First", "assistant-4b")
    dashboard.page.evaluate("document.querySelector('.pane option:checked').value = 'assistant-4'")
    dashboard.say("Hello")
    expect(dashboard.page.locator(".message.model .error")).to_contain_text("assistant-4b")


def test_a_chat_needs_no_mouse(dashboard: Dashboard) -> None:
    dashboard.open(USER_KEY)
    expect(dashboard.row("assistant-4b")).to_be_visible()
    press = dashboard.page.keyboard.press
    press("Tab")
    assert dashboard.page.evaluate("document.activeElement.className") == "skip"
    reached = ""
    for _ in range(80):
        press("Tab")
        reached = dashboard.page.evaluate(
            "document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"
        )
        outline = dashboard.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"nobody sees that {reached} is focused"
        if reached == "First model":
            break
    assert reached == "First model"
    dashboard.page.keyboard.type("assistant-4b")
    for _ in range(3):
        press("Tab")
        if dashboard.page.evaluate("document.activeElement.id") == "prompt":
            break
    dashboard.page.keyboard.type("Count to ten.")
    press("Shift+Enter")
    dashboard.page.keyboard.type("And back.")
    press("Enter")
    expect(dashboard.page.locator(".message.user")).to_have_text("Count to ten.\nAnd back.")
    expect(dashboard.page.locator(".message.model .measures")).to_have_text(MEASURES)
    assert dashboard.page.evaluate("document.activeElement.id") == "prompt"
