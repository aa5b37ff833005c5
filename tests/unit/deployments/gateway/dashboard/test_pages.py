"""The dashboard's files: known names only, cached by their content, and nothing from elsewhere."""

from __future__ import annotations

import re

import pytest

from deployments.gateway.dashboard.pages import FOLDER
from router.keys import Keyring, keys_from_text
from tests.unit.deployments.gateway.conftest import GatewayUnderTest


async def test_the_page_and_its_files_are_served(gateway: GatewayUnderTest) -> None:
    page = await gateway.get("/dashboard")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = set(re.findall(r'(?:src|href)="dashboard/([^"]+)"', page.text))
    assert "main.js" in named
    for name in named | {path.name for path in FOLDER.iterdir()}:
        reply = await gateway.get(f"/dashboard/{name}")
        assert reply.status_code == 200
        assert reply.content == (FOLDER / name).read_bytes()


async def test_a_file_that_is_known_is_not_sent_again(gateway: GatewayUnderTest) -> None:
    first = await gateway.get("/dashboard")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = await gateway.get("/dashboard", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await gateway.get("/dashboard", headers={"if-none-match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["nothing.js", "..%2Fpages.py", "%2Fetc%2Fpasswd", "%2e%2e", "%2e", "index.html%00", "INDEX.HTML", "%2e%2e%2fx"],
)
async def test_no_other_path_is_served(gateway: GatewayUnderTest, path: str) -> None:
    reply = await gateway.get(f"/dashboard/{path}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


async def test_the_page_is_public_and_holds_no_data(gateway: GatewayUnderTest) -> None:
    gateway.keyring = Keyring(keys_from_text("rmx-some-key-012345", admin=False, variable="KEYS"))
    assert (await gateway.get("/dashboard")).status_code == 200
    assert (await gateway.get("/v1/events")).status_code == 401


async def test_the_policy_allows_the_page_s_own_files_only(gateway: GatewayUnderTest) -> None:
    reply = await gateway.get("/dashboard")
    policy = dict(part.strip().partition(" ")[::2] for part in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert all(policy[name] == "'self'" for name in ("script-src", "style-src", "connect-src", "img-src"))
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"


def test_the_page_has_no_inline_code_and_names_no_other_site() -> None:
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)
    for path in FOLDER.iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text()), path.name
