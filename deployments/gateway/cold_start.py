"""Waiting for a model to start, with SSE comments for a client that streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from catalog.errors import RaymuxError
from catalog.replicas import VariantStatus
from deployments.gateway.exchange import Reply
from deployments.manager.view import Placed

# A start that is over sooner (or fails) still gets a status line of its own.
FIRST_COMMENT_AFTER_S = 1.0


async def wait_for_start(
    start: asyncio.Task[Placed | RaymuxError],
    reply: Reply | None,
    status: Callable[[], VariantStatus | None],
    comment_interval_s: float,
) -> Placed | RaymuxError:
    """Wait for a shared start. With a `reply` (a stream's) it gets a comment now and then until the start is over."""
    if reply is None:
        return await asyncio.shield(start)
    wait_s = FIRST_COMMENT_AFTER_S
    waited_s = 0.0
    while True:
        done, _ = await asyncio.wait({start}, timeout=wait_s)
        if done:
            return start.result()
        waited_s += wait_s
        wait_s = comment_interval_s
        await reply.comment(describe(status(), waited_s))


def describe(status: VariantStatus | None, waited_s: float) -> str:
    """A comment's text: the state, the step and the seconds to expect."""
    if status is None:
        return f"raymux starting waited_s={waited_s:.0f}"
    step = f" step={status.step}" if status.step else ""
    return (
        f"raymux {status.state}{step} waited_s={waited_s:.0f}"
        f" expected_s={max(0.0, status.expected_start_s - waited_s):.0f}"
    )
