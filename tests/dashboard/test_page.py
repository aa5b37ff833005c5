"""What the page shows as it is opened: to whom, and in windows of every size."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.dashboard.browser import SIZES, Dashboard
from tests.dashboard.conftest import ADMIN_KEY, USER_KEY
from tests.server import RunningServer


def test_the_page_shows_every_model_and_follows_it(dashboard: Dashboard, server: RunningServer) -> None:
    dashboard.open(ADMIN_KEY)
    expect(dashboard.page.locator("#connection")).to_have_text("Live")
    with server.client() as client:
        for model in client.get("/v1/models").json()["data"]:
            expect(dashboard.row(model["id"])).to_be_visible()
    expect(dashboard.row("assistant-4b").locator(".pill")).to_have_text("Ready")
    expect(dashboard.page.locator("#gpu-list")).to_contain_text("H100")
    expect(dashboard.page.locator("#gpu-list")).to_contain_text("of 8 free")
    expect(dashboard.page.locator("#node-list")).to_contain_text("assistant-4b")
    expect(dashboard.page.locator("#start-list")).to_contain_text("assistant-4b")


def test_the_filter_leaves_what_has_the_name(dashboard: Dashboard) -> None:
    dashboard.open(ADMIN_KEY)
    expect(dashboard.row("coder-7b")).to_be_visible()
    dashboard.page.get_by_label("Filter models").fill("70B")
    expect(dashboard.row("assistant-70b")).to_be_visible()
    expect(dashboard.row("coder-7b")).to_have_count(0)
    dashboard.page.get_by_label("Filter models").fill("nothing has this name")
    expect(dashboard.page.get_by_text("No model has this in its name.")).to_be_visible()


def test_without_a_key_the_page_asks_for_one_and_keeps_it_out_of_addresses(dashboard: Dashboard) -> None:
    asked: list[str] = []
    dashboard.page.on("request", lambda request: asked.append(request.url))
    dashboard.open()
    dialog = dashboard.page.get_by_role("dialog")
    expect(dialog.get_by_text("This raymux asks for an API key.")).to_be_visible()
    expect(dashboard.row("assistant-4b")).to_have_count(0)
    dashboard.page.get_by_label("Key", exact=True).fill("rmx-not-one-of-its-keys")
    dashboard.page.keyboard.press("Enter")
    expect(dialog.get_by_text("The API key is not valid.")).to_be_visible()
    dashboard.page.get_by_label("Key", exact=True).fill(USER_KEY)
    dashboard.page.keyboard.press("Enter")
    expect(dashboard.row("assistant-4b")).to_be_visible()
    expect(dialog).to_be_hidden()
    assert not any("rmx-" in url for url in asked)
    assert dashboard.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_nothing_is_wider_than_the_window(dashboard: Dashboard) -> None:
    dashboard.open(ADMIN_KEY)
    expect(dashboard.row("assistant-4b")).to_be_visible()
    for width, height in SIZES.items():
        dashboard.page.set_viewport_size({"width": width, "height": height})
        for is_comparing in (False, True):
            dashboard.page.get_by_label("Compare two models").set_checked(is_comparing)
            assert dashboard.overflow_px == 0, (width, is_comparing)


def test_the_page_is_light_or_dark_as_the_system_is(dashboard: Dashboard) -> None:
    dashboard.open(ADMIN_KEY)
    expect(dashboard.row("assistant-4b")).to_be_visible()
    for scheme in ("light", "dark"):
        dashboard.page.emulate_media(color_scheme=scheme)
        ground, text = dashboard.page.evaluate(
            "((style) => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
        )
        assert (brightness(ground) > brightness(text)) == (scheme == "light")


def brightness(colour: str) -> int:
    """Of what a browser computes, such as `rgb(14, 17, 24)`: 0 to 765."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_a_server_that_is_away_is_told_and_found_again(dashboard: Dashboard) -> None:
    dashboard.page.route("**/v1/events", lambda route: route.abort())
    dashboard.open(ADMIN_KEY)
    expect(dashboard.page.locator("#connection")).to_have_text("Reconnecting")
    dashboard.page.unroute("**/v1/events")
    expect(dashboard.page.locator("#connection")).to_have_text("Live")
