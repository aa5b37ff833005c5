"""What gateways tell each other through the manager: which prompts they have sent where."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from router.outlook import SentPrompt

# A gateway asks at least every ten seconds.
SILENT_S = 30.0
# Of what has not been fetched, the oldest is dropped.
MAX_WAITING = 1024


class Gossip:
    """A box for each gateway with what the others have said. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._boxes: dict[str, deque[tuple[float, SentPrompt]]] = {}
        self._seen_s: dict[str, float] = {}

    @property
    def num_gateways(self) -> int:
        """Those that have asked lately."""
        return len(self._boxes)

    def take(self, gateway: str, sent: Sequence[SentPrompt], now_s: float) -> None:
        """A gateway is there, and says what it has sent."""
        if not gateway:
            return
        self._seen_s[gateway] = now_s
        self._boxes.setdefault(gateway, deque(maxlen=MAX_WAITING))
        for other, seen_s in list(self._seen_s.items()):
            if now_s - seen_s > SILENT_S:
                del self._seen_s[other], self._boxes[other]
        for other, box in self._boxes.items():
            if other != gateway:
                box.extend((now_s, each) for each in sent)

    def give(self, gateway: str, now_s: float) -> tuple[SentPrompt, ...]:
        """What others have sent since the gateway has asked the last time; ages are as of now."""
        box = self._boxes.get(gateway)
        if not box:
            return ()
        told = tuple(each._replace(age_s=each.age_s + now_s - at_s) for at_s, each in box)
        box.clear()
        return told
