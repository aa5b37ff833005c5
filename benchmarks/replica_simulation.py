"""Simulated engine replicas: prefill, continuous batching and a prefix cache, for the benchmark of replica choice.

Time passes from event to event. A replica computes prompts one after the other in the order of their arrival, in chunks
that share each step with the tokens of the requests that are being answered (vLLM's chunked prefill); of a prompt it
computes what its cache does not hold. The cache forgets the blocks that were used least recently.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from benchmarks.traces import BLOCK_TOKENS, Turn

REPORT_INTERVAL_S = 1.0
# The times of the trace are multiples of this; requests are spread over it.
ARRIVAL_WINDOW_S = 3.0
# A step without prefill: the weights are read once, and each sequence adds its own keys and values.
STEP_S, STEP_PER_SEQUENCE_S = 0.02, 0.0002
# Of a step's tokens at most this share goes to sequences that are being answered.
MAX_DECODE_SHARE = 0.9


class Engine(NamedTuple):
    """What one replica can do: tokens of prompts a second, tokens in its KV cache, and tokens computed in one step."""

    prefill_tokens_per_s: float = 8000.0
    kv_tokens: int = 500_000
    step_tokens: int = 2048


@dataclass(slots=True, eq=False)
class Request:
    """One request, and what became of it. Times are simulated seconds, `cached_tokens` those that were not computed.

    `place` is the chooser's own, `key` a number in order of arrival.
    """

    key: int
    turn: Turn
    arrives_s: float
    gateway: int
    place: Any = None
    replica: int = -1
    first_token_s: float = math.nan
    cached_tokens: int = 0

    @property
    def ttft_s(self) -> float:
        return self.first_token_s - self.arrives_s


class Chooser(Protocol):
    """The gateways: they choose a replica for each request, and learn what a gateway would learn."""

    def choose(self, request: Request, now_s: float) -> int: ...

    def first_token(self, request: Request, now_s: float) -> None: ...

    def ended(self, request: Request, now_s: float) -> None: ...

    def reported(self, replica: Replica, now_s: float) -> None: ...


class Replica:
    """One engine. What it has to tell: `num_running`, `num_waiting`; `busy_s` is how long it has computed prompts."""

    def __init__(self, number: int, engine: Engine) -> None:
        self.number = number
        self.busy_s = 0.0
        self.version = 0
        self._engine = engine
        self._num_blocks = engine.kv_tokens // BLOCK_TOKENS
        self._waiting: deque[Request] = deque()
        self._prefilling: Request | None = None
        self._left_tokens = 0.0
        self._answering: list[tuple[float, int, Request]] = []
        # Tokens that each sequence has got since the beginning, if it was there then.
        self._clock_tokens = 0.0
        self._now_s = self._begun_s = 0.0
        self._pinned: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._used_blocks = 0

    @property
    def num_running(self) -> int:
        return len(self._answering) + (self._prefilling is not None)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def uncached_tokens(self, turn: Turn) -> int:
        """What would have to be computed of a prompt now; at least one token."""
        num_held = 0
        for block in turn.blocks[: (turn.prompt_tokens - 1) // BLOCK_TOKENS]:
            if block not in self._pinned and block not in self._idle:
                break
            num_held += 1
        return turn.prompt_tokens - num_held * BLOCK_TOKENS

    def expected_ttft_s(self, turn: Turn, now_s: float) -> float:
        """The time to first token of a prompt that comes now, by somebody who knows the engine from inside."""
        self.advance(now_s)
        queued = sum(self.uncached_tokens(request.turn) for request in self._waiting) + max(0.0, self._left_tokens)
        return (queued + self.uncached_tokens(turn)) / self._prefill_rate()

    def add(self, request: Request, now_s: float) -> None:
        """A request comes."""
        self.advance(now_s)
        self._waiting.append(request)
        self._begin_next()

    def advance(self, now_s: float) -> None:
        """Let the time pass since the last event."""
        passed_s = now_s - self._now_s
        self._now_s = now_s
        self._clock_tokens += passed_s * self._answer_rate()
        if self._prefilling is not None:
            self._left_tokens -= passed_s * self._prefill_rate()
            self.busy_s += passed_s

    def next_event_s(self) -> float:
        """When something ends, if nothing comes before."""
        at_s = math.inf
        if self._prefilling is not None:
            at_s = max(self._now_s + max(0.0, self._left_tokens) / self._prefill_rate(), self._begun_s + STEP_S)
        if self._answering:
            left_tokens = max(0.0, self._answering[0][0] - self._clock_tokens)
            at_s = min(at_s, self._now_s + left_tokens / self._answer_rate())
        return at_s

    def settle(self, now_s: float) -> tuple[Request | None, list[Request]]:
        """What has ended by now: the prompt that has been computed, if one has, and the requests that are answered."""
        self.advance(now_s)
        computed, ended = None, []
        if self._prefilling is not None and self._left_tokens <= 1e-6 and now_s >= self._begun_s + STEP_S - 1e-9:
            computed, self._prefilling = self._prefilling, None
            computed.first_token_s = now_s
            ends_at = self._clock_tokens + computed.turn.completion_tokens - 1
            heapq.heappush(self._answering, (ends_at, computed.key, computed))
        while self._answering and self._answering[0][0] <= self._clock_tokens + 1e-6:
            ended.append(heapq.heappop(self._answering)[2])
            self._release(ended[-1].turn)
        self._begin_next()
        return computed, ended

    def _prefill_rate(self) -> float:
        share = min(MAX_DECODE_SHARE, len(self._answering) / self._engine.step_tokens)
        return self._engine.prefill_tokens_per_s * (1 - share)

    def _answer_rate(self) -> float:
        """Tokens a second that each sequence gets: one a step, and a step with a chunk of prefill is a long one."""
        if self._prefilling is not None:
            return self._engine.prefill_tokens_per_s / self._engine.step_tokens
        return 1 / (STEP_S + STEP_PER_SEQUENCE_S * len(self._answering))

    def _begin_next(self) -> None:
        if self._prefilling is None and self._waiting and self._reserve(self._waiting[0].turn):
            request = self._prefilling = self._waiting.popleft()
            self._left_tokens = float(request.turn.prompt_tokens - request.cached_tokens)
            self._begun_s = self._now_s

    def _reserve(self, turn: Turn) -> bool:
        """Take blocks for a request. False where the cache has no room for it until another one ends."""
        request, shared = self._waiting[0], turn.blocks[: turn.prompt_tokens // BLOCK_TOKENS]
        num_new = _own_blocks(turn) + sum(block not in self._pinned and block not in self._idle for block in shared)
        num_evictable = len(self._idle) - sum(block in self._idle for block in shared)
        if self._used_blocks - num_evictable + num_new > self._num_blocks and self._answering:
            return False
        request.cached_tokens = turn.prompt_tokens - self.uncached_tokens(turn)
        for block in shared:
            if block in self._idle:
                del self._idle[block]
            self._pinned[block] = self._pinned.get(block, 0) + 1
        self._used_blocks += num_new
        while self._used_blocks > self._num_blocks and self._idle:
            self._idle.popitem(last=False)
            self._used_blocks -= 1
        return True

    def _release(self, turn: Turn) -> None:
        """Its blocks stay until others need the room; the end of a prompt goes before its beginning."""
        self._used_blocks -= _own_blocks(turn)
        for block in reversed(turn.blocks[: turn.prompt_tokens // BLOCK_TOKENS]):
            self._pinned[block] -= 1
            if not self._pinned[block]:
                del self._pinned[block]
                self._idle[block] = None


def _own_blocks(turn: Turn) -> int:
    """Blocks that nobody else can use: the last part of the prompt and the completion."""
    return math.ceil((turn.prompt_tokens % BLOCK_TOKENS + turn.completion_tokens) / BLOCK_TOKENS)


class Simulation:
    """Replicas, the requests that come to them, and what happens next."""

    def __init__(self, requests: Sequence[Request], replicas: list[Replica], chooser: Chooser) -> None:
        self._requests = requests
        self._replicas = replicas
        self._chooser = chooser
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._num_events = 0

    def run(self, rng: random.Random) -> None:
        """Until every request has been answered."""
        for replica in self._replicas:
            self._at(rng.random() * REPORT_INTERVAL_S, partial(self._report, replica))
        for request in self._requests:
            self._at(request.arrives_s, partial(self._arrive, request))
        while self._events:
            now_s, _, action = heapq.heappop(self._events)
            action(now_s)

    def _at(self, time_s: float, action: Callable[[float], None]) -> None:
        self._num_events += 1
        heapq.heappush(self._events, (time_s, self._num_events, action))

    def _arrive(self, request: Request, now_s: float) -> None:
        request.replica = self._chooser.choose(request, now_s)
        replica = self._replicas[request.replica]
        replica.add(request, now_s)
        self._expect(replica)

    def _report(self, replica: Replica, now_s: float) -> None:
        self._chooser.reported(replica, now_s)
        if now_s < self._requests[-1].arrives_s:
            self._at(now_s + REPORT_INTERVAL_S, partial(self._report, replica))

    def _expect(self, replica: Replica) -> None:
        """Have the replica's next event come; whatever was expected of it before no longer counts."""
        replica.version += 1
        if (time_s := replica.next_event_s()) < math.inf:
            self._at(time_s, partial(self._settle, replica, replica.version))

    def _settle(self, replica: Replica, version: int, now_s: float) -> None:
        if replica.version != version:
            return
        computed, ended = replica.settle(now_s)
        if computed is not None:
            self._chooser.first_token(computed, now_s)
        for request in ended:
            self._chooser.ended(request, now_s)
        self._expect(replica)


def simulate(
    turns: Sequence[Turn],
    engine: Engine,
    num_replicas: int,
    num_gateways: int,
    load_ratio: float,
    chooser_of: Callable[[list[Replica]], Chooser],
    seed: int,
) -> tuple[list[Request], list[Replica]]:
    """Send the turns through the gateways, and return what became of them.

    Arrivals are scaled in time so that all prompts together, if none of them were in any cache, would keep the
    replicas busy for `load_ratio` of the time.
    """
    replicas = [Replica(number, engine) for number in range(num_replicas)]
    rng = random.Random(seed)
    requests = _arrivals(turns, engine.prefill_tokens_per_s * num_replicas * load_ratio, num_gateways, rng)
    Simulation(requests, replicas, chooser_of(replicas)).run(rng)
    return requests, replicas


def _arrivals(turns: Sequence[Turn], tokens_per_s: float, num_gateways: int, rng: random.Random) -> list[Request]:
    spread = sorted(((turn.at_s + rng.random() * ARRIVAL_WINDOW_S, turn) for turn in turns), key=lambda pair: pair[0])
    scale = sum(turn.prompt_tokens for turn in turns) / tokens_per_s / spread[-1][0]
    return [Request(key, turn, at_s * scale, rng.randrange(num_gateways)) for key, (at_s, turn) in enumerate(spread)]
