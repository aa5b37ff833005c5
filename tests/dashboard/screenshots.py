"""Takes the pictures of docs/dashboard.md: `python -m tests.dashboard.screenshots`, on the server of the tests."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser

from tests.dashboard.browser import Dashboard, chromium, window
from tests.dashboard.conftest import ADMIN_KEY, ENVIRONMENT
from tests.server import PROJECT, RunningServer

FOLDER = PROJECT / "docs" / "images"
# Name, width of the window, colour scheme, and whether models are compared.
PICTURES = (
    ("dashboard-1280", 1280, "light", True),
    ("dashboard-1280-dark", 1280, "dark", True),
    ("dashboard-1920", 1920, "light", True),
    ("dashboard-400", 400, "light", False),
)
MAX_BYTES = 250_000
NUM_CLIENTS = 14
STARTING, STARTING_FOR_MS = "coder-7b", 2_300
WARM = ("assistant-70b", STARTING, "peft:assistant-4b:support_tone", "bge-base-en")


def main() -> int:
    """Fill a server with work, and take every picture. Returns 1 when one is too large."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with RunningServer(PROJECT / "tests/configs/dashboard.yaml", environment=ENVIRONMENT) as server:
        server.headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        is_over = threading.Event()
        workers = [threading.Thread(target=work, args=(server, is_over)) for _ in range(NUM_CLIENTS)]
        try:
            prepare(server)
            for worker in workers:
                worker.start()
            # A second replica comes, and its decision is told.
            server.wait_for("assistant-4b", lambda status: bool(status["decisions"]), 60)
            time.sleep(8)
            with chromium() as browser:
                sizes = [take(browser, server, folder, *picture) for picture in PICTURES]
        finally:
            is_over.set()
            for worker in workers:
                worker.join()
    return int(max(sizes) > MAX_BYTES)


def prepare(server: RunningServer) -> None:
    """Some models warm, one that fails, the others cold."""
    with server.client() as client:
        for model in WARM:
            client.post("/v1/warmup", json={"model": model, "keep_warm_s": 3600, "wait": True}).raise_for_status()
        client.post("/v1/warmup", json={"model": "vision-7b", "wait": True})


def stop(server: RunningServer, model: str) -> None:
    with server.client() as client:
        client.post(f"/v1/models/{model}/stop?drain=true").raise_for_status()
    server.wait_for_state(model, "stopped")


def work(server: RunningServer, is_over: threading.Event) -> None:
    """Chat until it is over."""
    body = {"model": "assistant-4b", "messages": [{"role": "user", "content": "Go on."}], "max_tokens": 400}
    with server.client() as client:
        while not is_over.is_set():
            try:
                client.post("/v1/chat/completions", json=body).raise_for_status()
            except httpx.HTTPError as error:
                print(f"a client: {error!r}")
                return


def take(
    browser: Browser,
    server: RunningServer,
    folder: Path,
    name: str,
    width: int,
    scheme: str,
    compares: bool,
) -> int:
    """One picture of the whole page. Returns its size in bytes."""
    with window(browser, server.url, width, color_scheme=scheme, reduced_motion="reduce") as opened:
        stop(server, STARTING)
        chat(opened.open(ADMIN_KEY), compares)
        # For the pace of tokens, which takes some reports; then one model is at its start.
        opened.page.wait_for_timeout(2_500)
        with server.client() as client:
            client.post(f"/v1/models/{STARTING}/start").raise_for_status()
        opened.page.wait_for_timeout(STARTING_FOR_MS)
        picture = Image.open(io.BytesIO(opened.page.screenshot(full_page=True))).convert("RGB")
    path = folder / f"{name}.png"
    # A third as large, and no colour is off by more than six parts of 255.
    indexed = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    indexed.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {picture.width} × {picture.height} pixels, {size / 1000:.0f} kB")
    return size


def chat(opened: Dashboard, compares: bool) -> None:
    opened.choose("First", "assistant-4b")
    if compares:
        opened.page.get_by_label("Compare two models").check()
        opened.choose("Second", "assistant-70b")
    opened.page.get_by_label("Most tokens").fill("60")
    opened.say("Count to ten, again and again.")
    for answer in opened.page.locator(".measures:visible").all():
        answer.get_by_text("in all").wait_for()
    opened.page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")


if __name__ == "__main__":
    sys.exit(main())
