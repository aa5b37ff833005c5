"""A real receiver of webhooks for tests: it checks signatures by the standard's library; it can be down or hang."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.server import free_port


class WebhookReceiver:
    """A context manager around one server on loopback; `stop` and `start` end and bring it back at the same port.

    `events` are those it has taken, each with its `id`, in their order. `statuses` are answered to the next requests,
    with `headers`; after that 200. While `hangs` is set, requests get no answer.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.port = free_port()
        self.events: list[dict[str, Any]] = []
        self.requests: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.hangs = False
        self._server: ThreadingHTTPServer | None = None
        self._may_answer = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?of=raymux"

    def __enter__(self) -> WebhookReceiver:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._may_answer.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        server, self._server = self._server, None
        self._may_answer.set()
        if server is not None:
            server.shutdown()
            server.server_close()

    def told(self, model: str) -> list[str]:
        """The types of the events about a model, in their order."""
        return [event["type"] for event in self.events if event["data"]["model"] == model]

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.requests.append(headers)
        if self.hangs:
            self._may_answer.wait(60)
            return 503, {}
        if self.statuses:
            return self.statuses.pop(0), self.headers
        Webhook(self.secret if self.secret.startswith("whsec_") else self.secret.encode()).verify(body, headers)
        self.events.append({**json.loads(body), "id": headers["webhook-id"], "at_s": time.time()})
        return 200, self.headers


def _handler(receiver: WebhookReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            try:
                status, more = receiver.answer({key.lower(): value for key, value in self.headers.items()}, body)
            except Exception:
                status, more = 401, {}
            with contextlib.suppress(OSError):
                self.send_response(status)
                for key, value in {"content-length": "0", **more}.items():
                    self.send_header(key, value)
                self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
