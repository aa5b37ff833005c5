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
# Name, width of the window, colour scheme, pixels for each one of the page, and whether models are compared.
PICTURES = (
    ("dashboard-1280", 1280, "light", 1, True),
    ("dashboard-1280-dark", 1280, "dark", 1, True),
    ("dashboard-1920", 1920, "light", 1, True),
    ("dashboard-400", 400, "light", 1, False),
)
MAX_BYTES = 250_000
NUM_CLIENTS = 14
WARM = ("assistant-70b", "coder-7b", "peft:assistant-4b:support_tone", "bge-base-en")


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
    scale: int,
    compares: bool,
) -> int:
    """One picture of the whole page, as an indexed PNG. Returns its size in bytes."""
    with window(browser, server.url, width, color_scheme=scheme, device_scale_factor=scale) as opened:
        chat(opened.open(ADMIN_KEY), compares)
        # For the pace of tokens, which takes some reports.
        opened.page.wait_for_timeout(4_000)
        picture = Image.open(io.BytesIO(opened.page.screenshot(full_page=True))).convert("RGB")
    path = folder / f"{name}.png"
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
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
    opened.page.get_by_text("in all").first.wait_for()
    opened.page.evaluate("scrollTo(0, 0)")


if __name__ == "__main__":
    sys.exit(main())
