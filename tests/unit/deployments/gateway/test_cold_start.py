from __future__ import annotations

import asyncio

import pytest

from catalog.errors import ModelFailed
from catalog.replicas import StartStep, VariantState
from deployments.gateway import cold_start
from deployments.gateway.cold_start import describe, wait_for_start
from deployments.gateway.exchange import Exchange, HttpReply, Reply
from tests.unit.builders import Sent, report, settle, status


def reply_to(sent: Sent) -> Reply:
    return HttpReply(sent, Exchange("req-1", "POST", "/"))


async def start_that_takes(num_turns: int, outcome: object) -> object:
    for _ in range(num_turns):
        await settle()
    return outcome


async def test_a_whole_reply_waits_in_silence() -> None:
    start = asyncio.create_task(start_that_takes(3, report()))
    assert await wait_for_start(start, None, lambda: None, 0) == report()


async def test_a_stream_gets_comments_until_the_start_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "FIRST_COMMENT_AFTER_S", 0)
    sent = Sent()
    start = asyncio.create_task(start_that_takes(2, report()))
    starting = status(VariantState.STARTING, step=StartStep.LOADING, expected_start_s=20.0)
    assert await wait_for_start(start, reply_to(sent), lambda: starting, 0) == report()
    comments = sent.body.split(b"\n\n")[:-1]
    assert len(comments) > 1
    assert set(comments) == {b": raymux starting step=loading waited_s=0 expected_s=20"}


async def test_a_start_that_fails_at_once_leaves_the_head_unsent() -> None:
    sent = Sent()
    start = asyncio.create_task(start_that_takes(0, ModelFailed("no")))
    assert isinstance(await wait_for_start(start, reply_to(sent), lambda: None, 5), ModelFailed)
    assert sent.messages == []


@pytest.mark.parametrize("streams", [True, False])
async def test_a_client_that_leaves_does_not_cancel_the_start(streams: bool) -> None:
    start = asyncio.create_task(start_that_takes(5, report()))
    waiting = asyncio.create_task(wait_for_start(start, reply_to(Sent()) if streams else None, lambda: None, 5))  # type: ignore[arg-type]
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await start == report()


def test_a_comment_tells_state_step_and_the_seconds_to_expect() -> None:
    loading = status(VariantState.STARTING, step=StartStep.LOADING, expected_start_s=20.0)
    assert describe(loading, 5.0) == "raymux starting step=loading waited_s=5 expected_s=15"
    assert describe(status(VariantState.SCHEDULING, expected_start_s=20.0), 60.0).endswith("waited_s=60 expected_s=0")
    assert describe(None, 2.0) == "raymux starting waited_s=2"
