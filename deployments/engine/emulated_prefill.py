"""How the emulated engine computes prompts: one after the other, and not again what its cache holds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 16


class EmulatedPrefill:
    """Takes the words of a prompt for its tokens. `num_waiting` prompts wait for their turn.

    The cache holds whole blocks, at most `cache_tokens`, and forgets those that were used least recently.
    """

    def __init__(self, tokens_per_s: float | None, cache_tokens: int) -> None:
        self._tokens_per_s = tokens_per_s
        self._max_blocks = cache_tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self._turn = asyncio.Lock()
        self.num_waiting = 0

    @property
    def is_emulated(self) -> bool:
        """Else prompts take no time, and nothing of them is kept."""
        return self._tokens_per_s is not None or self._max_blocks > 0

    async def compute(self, salt: str, tokens: Sequence[str]) -> int:
        """Return when the prompt has been computed: how many of its tokens were in the cache, all but one at most."""
        blocks = _chain(salt, tokens)
        self.num_waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self.num_waiting -= 1
        try:
            num_held = next((number for number, block in enumerate(blocks) if block not in self._blocks), len(blocks))
            cached = min(num_held * BLOCK_TOKENS, max(0, len(tokens) - 1))
            if self._tokens_per_s is not None:
                await asyncio.sleep((len(tokens) - cached) / self._tokens_per_s)
            self._keep(blocks)
        finally:
            self._turn.release()
        return cached

    def _keep(self, blocks: list[int]) -> None:
        # The end of a prompt is forgotten before its beginning.
        for block in reversed(blocks):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)


def _chain(salt: str, tokens: Sequence[str]) -> list[int]:
    """Each whole block by a hash of it and of all before it."""
    blocks, parent = [], hash(salt)
    for begin in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        parent = hash((parent, *tokens[begin : begin + BLOCK_TOKENS]))
        blocks.append(parent)
    return blocks
