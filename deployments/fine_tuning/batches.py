"""How the examples of one step are shared out."""

from __future__ import annotations

import math
from typing import NamedTuple

# Examples that go through the model at once; the others of a batch follow, and their gradients are added up.
MAX_MICRO_BATCH = 8


class Batches(NamedTuple):
    """What each worker does in one step: `num_micro_batches` times `micro_batch` examples."""

    micro_batch: int
    num_micro_batches: int

    @property
    def per_worker(self) -> int:
        """Examples of one step in each worker."""
        return self.micro_batch * self.num_micro_batches


def share_out(batch_size: int, num_workers: int) -> Batches:
    """Batches of exactly `batch_size` examples over all workers, or of as few more as have each do the same."""
    per_worker = math.ceil(batch_size / num_workers)
    micro_batch = next(size for size in range(MAX_MICRO_BATCH, 0, -1) if per_worker % size == 0)
    return Batches(micro_batch, per_worker // micro_batch)
