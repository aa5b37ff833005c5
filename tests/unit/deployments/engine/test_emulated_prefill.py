from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from deployments.engine import emulated_prefill
from deployments.engine.emulated_prefill import BLOCK_TOKENS, EmulatedPrefill
from tests.unit.builders import until


def words(name: str, number: int) -> list[str]:
    return [f"{name}{index}" for index in range(number)]


async def test_what_begins_alike_is_computed_once() -> None:
    prefill = EmulatedPrefill(None, 10_000)
    talk = words("a", 100)
    assert await prefill.compute("m", talk) == 0
    assert await prefill.compute("m", [*talk[:70], *words("b", 30)]) == 70 // BLOCK_TOKENS * BLOCK_TOKENS
    assert await prefill.compute("m", ["other", *talk]) == 0
    assert await prefill.compute("adapter", talk) == 0


async def test_of_a_prompt_one_token_at_least_is_computed() -> None:
    prefill = EmulatedPrefill(None, 10_000)
    for expected in (0, 2 * BLOCK_TOKENS - 1):
        assert await prefill.compute("m", words("a", 2 * BLOCK_TOKENS)) == expected


async def test_the_end_of_what_was_used_least_recently_is_forgotten_first() -> None:
    prefill = EmulatedPrefill(None, 6 * BLOCK_TOKENS)
    old, new = words("a", 4 * BLOCK_TOKENS + 1), words("b", 4 * BLOCK_TOKENS + 1)
    for prompt in (old, new):
        await prefill.compute("m", prompt)
    assert await prefill.compute("m", old) == 2 * BLOCK_TOKENS


async def test_prompts_are_computed_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    may_go_on = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await may_go_on.wait()

    prefill = EmulatedPrefill(100.0, 10_000)
    monkeypatch.setattr(emulated_prefill, "asyncio", SimpleNamespace(sleep=sleep))
    computing = [asyncio.create_task(prefill.compute("m", words("a", number))) for number in (50, 100)]
    await until(lambda: bool(slept) and prefill.num_waiting == 1)
    assert slept == [0.5]
    may_go_on.set()
    await asyncio.gather(*computing)
    assert slept == [0.5, (100 - 48) / 100]
    assert prefill.num_waiting == 0


async def test_a_prompt_whose_client_leaves_holds_nobody_up() -> None:
    prefill = EmulatedPrefill(1.0, 10_000)
    first = asyncio.create_task(prefill.compute("m", words("a", 10_000)))
    second = asyncio.create_task(prefill.compute("m", words("b", 10_000)))
    await until(lambda: prefill.num_waiting == 1)
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert prefill.num_waiting == 0
    prefill._tokens_per_s = None
    assert await prefill.compute("m", words("c", 5)) == 0
