"""What is sent is signed, to an address that was allowed as it was connected to; a real receiver on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from catalog.webhooks import NoticeType, ReceiverSettings
from deployments.manager.outbox import NotDelivered, OutboxEntry
from deployments.manager.sender import Sender
from tests.webhook_receiver import WebhookReceiver

SECRET, NEWER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a plain secret"
ENTRY = OutboxEntry(
    id="msg_1", type=NoticeType.READY, received_s=0.0, receiver="", body=json.dumps({"data": {"model": "münster"}})
)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver(SECRET) as running:
        yield running


def settings(url: str, **fields: Any) -> ReceiverSettings:
    return ReceiverSettings.model_validate(
        {"url": url, "secret_env": "HOOK_SECRET", "allow_private": True, "timeout_s": 5, **fields}
    )


def sender(*secrets: str) -> Sender:
    return Sender(lambda _: secrets or (SECRET,))


async def refusal(to: ReceiverSettings, by: Sender | None = None) -> NotDelivered:
    with pytest.raises(NotDelivered) as caught:
        await (by or sender())(to, ENTRY)
    return caught.value


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names lead to; each look-up takes one from the list, until one is left."""
    known: dict[str, list[str]] = {}

    def look_up(host: str, port: int, *_: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        addresses = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port, 0, 0)[: 4 if ":" in address else 2])
            for address in addresses.split()
            for family in (socket.AF_INET6 if ":" in address else socket.AF_INET,)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


# What is sent


async def test_an_event_arrives_as_the_standard_s_own_library_verifies_it(receiver: WebhookReceiver) -> None:
    await sender()(settings(receiver.url), ENTRY)
    (event,), (headers,) = receiver.events, receiver.requests
    assert (event["id"], event["data"]) == ("msg_1", {"model": "münster"})
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_each_secret_signs_so_that_one_may_replace_another(receiver: WebhookReceiver) -> None:
    for receiver.secret in (SECRET, NEWER):
        await sender(NEWER, SECRET)(settings(receiver.url), ENTRY)
    assert len(receiver.events) == 2


@pytest.mark.parametrize("value", ["", "whsec_", "whsec_x"])
async def test_nothing_is_sent_unsigned(receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HOOK_SECRET", value)
    assert (await refusal(settings(receiver.url), Sender())).code == "secret_missing"
    assert receiver.requests == []


async def test_the_secrets_are_those_of_the_receiver_s_variable(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", f"{NEWER}, {SECRET}")
    await Sender()(settings(receiver.url), ENTRY)
    assert len(receiver.events) == 1


async def test_the_time_of_each_try_is_signed(receiver: WebhookReceiver) -> None:
    await refusal(settings(receiver.url), Sender(lambda _: (SECRET,), lambda: time.time() - 1_000))
    (headers,) = receiver.requests
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert headers["webhook-signature"] == Webhook(SECRET).sign("msg_1", at, ENTRY.body)


# What becomes of it


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(500, False), (503, False), (401, False), (404, False), (429, False), (400, True), (410, True)],
)
async def test_an_answer_that_is_no_success_is_none(receiver: WebhookReceiver, status: int, is_final: bool) -> None:
    receiver.statuses = [status]
    refused = await refusal(settings(receiver.url))
    assert (refused.code, refused.is_final) == (f"status_{status}", is_final)


async def test_a_redirection_is_not_followed(receiver: WebhookReceiver) -> None:
    receiver.statuses = [307]
    receiver.headers = {"location": receiver.url}
    assert (await refusal(settings(receiver.url))).code == "status_307"
    assert len(receiver.requests) == 1


async def test_a_receiver_that_is_down_or_hangs_is_given_up_in_time(receiver: WebhookReceiver) -> None:
    receiver.hangs = True
    begun_s = time.monotonic()
    assert (await refusal(settings(receiver.url, timeout_s=0.5))).code == "timeout"
    assert time.monotonic() - begun_s < 3
    receiver.stop()
    assert (await refusal(settings(receiver.url))).code == "connection_failed"


class Raw:
    """A TCP server that answers the first bytes with these, and goes on with the last of them without end."""

    def __init__(self, *answer: bytes) -> None:
        self._answer = answer
        self.first_bytes = b""
        self.num_sent = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.first_bytes = await reader.read(4096)
        with contextlib.suppress(OSError):
            for part in self._answer:
                writer.write(part)
            while self._answer and self.num_sent < 64 * 1024 * 1024:
                writer.write(self._answer[-1])
                await writer.drain()
                self.num_sent += len(self._answer[-1])
        writer.close()


@contextlib.asynccontextmanager
async def raw(server: Raw) -> AsyncIterator[int]:
    """Serve; gives the port."""
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()


async def test_an_answer_without_end_is_not_read() -> None:
    server = Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n")
    async with raw(server) as port:
        await sender()(settings(f"http://127.0.0.1:{port}/"), ENTRY)
    assert server.num_sent < 32 * 1024 * 1024


@pytest.mark.parametrize(
    "answer", [(b"not http\r\n\r\n",), (b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"b" * 8_000 + b"\r\n"), ()]
)
async def test_an_answer_that_is_none_is_a_failure(answer: tuple[bytes, ...]) -> None:
    async with raw(Raw(*answer)) as port:
        assert (await refusal(settings(f"http://127.0.0.1:{port}/"))).code == "connection_failed"


# Where it is sent


async def test_a_name_is_sent_to_where_it_leads(receiver: WebhookReceiver, names: dict[str, list[str]]) -> None:
    names["hooks.test"] = ["127.0.0.1"]
    await sender()(settings(f"http://hooks.test:{receiver.port}/"), ENTRY)
    assert receiver.requests[0]["host"] == f"hooks.test:{receiver.port}"


async def test_a_name_that_leads_nowhere_is_a_failure_that_may_pass(names: dict[str, list[str]]) -> None:
    refused = await refusal(settings("https://hooks.test/"))
    assert (refused.code, refused.is_final) == ("name_not_found", False)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "0.0.0.0"])
async def test_a_name_that_leads_inside_is_not_connected_to(names: dict[str, list[str]], address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        names["hooks.test"] = [address]
        to = settings(f"https://hooks.test:{listening.getsockname()[1]}/", allow_private=False)
        assert (await refusal(to)).code == "address_not_allowed"
        with pytest.raises(BlockingIOError):
            listening.accept()


async def test_of_several_addresses_only_those_that_are_allowed_are_tried(names: dict[str, list[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        names["hooks.test"] = ["169.254.169.254 127.0.0.1"]
        to = settings(f"http://hooks.test:{listening.getsockname()[1]}/", timeout_s=0.5)
        assert (await refusal(to)).code == "timeout"
        connection, _ = listening.accept()
        connection.close()


async def test_a_name_that_changes_between_look_ups_gets_nowhere(names: dict[str, list[str]]) -> None:
    """Whoever looked first and connected by the name would be led inside by the second answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        names["hooks.test"] = ["0.0.0.0", "127.0.0.1", "127.0.0.1"]
        to = settings(f"https://hooks.test:{listening.getsockname()[1]}/", allow_private=False)
        for _ in range(3):
            assert (await refusal(to)).code == "address_not_allowed"
        with pytest.raises(BlockingIOError):
            listening.accept()


async def test_an_address_is_judged_also_where_the_settings_were_not(receiver: WebhookReceiver) -> None:
    to = settings(receiver.url).model_copy(update={"allow_private": False})
    assert (await refusal(to)).code == "address_not_allowed"
    assert receiver.requests == []


async def test_tls_asks_for_the_name_at_the_address_that_was_judged(names: dict[str, list[str]]) -> None:
    server = Raw()
    names["hooks.test"] = ["127.0.0.1"]
    async with raw(server) as port:
        assert (await refusal(settings(f"https://hooks.test:{port}/"))).code in ("tls_failed", "connection_failed")
    assert b"hooks.test" in server.first_bytes, "the ClientHello names the host"


async def test_a_look_up_that_hangs_holds_up_no_other_and_no_thread_of_others(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, found = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *rest: Any) -> Any:
        return found(host, *rest) if host != "slow.test" else may_end.wait(30) and []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    by = sender()
    hanging = [asyncio.create_task(refusal(settings("https://slow.test/", timeout_s=0.5), by)) for _ in range(10)]
    try:
        await by(settings(f"http://localhost:{receiver.port}/"), ENTRY)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "ran"), 5) == "ran"
        assert {each.code for each in await asyncio.gather(*hanging)} == {"timeout"}
    finally:
        may_end.set()
