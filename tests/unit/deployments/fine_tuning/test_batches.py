"""A step has as many examples as was wished, whatever of them goes through the model at once."""

from __future__ import annotations

import pytest

from deployments.fine_tuning.batches import MAX_MICRO_BATCH, share_out


@pytest.mark.parametrize("batch_size", range(1, 65))
def test_one_worker_has_exactly_the_wished_batch(batch_size: int) -> None:
    batches = share_out(batch_size, 1)
    assert batches.per_worker == batch_size
    assert 1 <= batches.micro_batch <= MAX_MICRO_BATCH


def test_as_much_as_may_goes_through_at_once() -> None:
    assert [share_out(size, 1).micro_batch for size in (4, 8, 12, 16, 24)] == [4, 8, 6, 8, 8]


def test_workers_have_the_same_and_together_not_a_whole_one_each_too_many() -> None:
    for batch_size in range(1, 65):
        for num_workers in range(1, 9):
            together = share_out(batch_size, num_workers).per_worker * num_workers
            assert batch_size <= together < batch_size + num_workers
