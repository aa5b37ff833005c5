from __future__ import annotations

import threading

import pytest

from catalog.replicas import StartStep, VariantState, VariantStatus
from deployments.gateway.cold_start import describe
from raymux.client.cold_start import ColdStart, Comments, Watch, in_comment, in_status


def test_what_the_gateway_writes_is_what_the_client_reads() -> None:
    status = VariantStatus("m@CPU", VariantState.STARTING, step=StartStep.LOADING, expected_start_s=12)
    found = in_comment(f": {describe(status, 3.0)}", "m")
    assert found == ColdStart("starting", "m", "loading", waited_s=3, expected_s=9)
    assert in_comment(f": {describe(None, 1.0)}") == ColdStart("starting", waited_s=1)


def test_a_place_in_the_queue_is_read_too() -> None:
    assert in_comment(": raymux queued before=4 waited_s=2") == ColdStart("queued", waited_s=2, num_before=4)


@pytest.mark.parametrize("line", ["", "data: {}", ": ping", ": raymuxx starting", "event: error"])
def test_other_lines_say_nothing(line: str) -> None:
    assert in_comment(line) is None


def test_comments_are_found_however_the_bytes_are_cut_and_only_before_the_first_event() -> None:
    stream = b": raymux starting waited_s=1\n\n: raymux ready waited_s=2\n\ndata: {}\n\n: raymux late waited_s=9\n\n"
    for size in (1, 2, 7, len(stream)):
        seen: list[ColdStart] = []
        comments = Comments("m", seen.append)
        for start in range(0, len(stream), size):
            comments.feed(stream[start : start + size])
        assert [each.state for each in seen] == ["starting", "ready"]


STATUS = {
    "variants": [
        {"model": "base", "variant": "L4", "state": "cold"},
        {"model": "base", "variant": "A10G", "state": "starting", "step": "loading", "expected_start_s": 30},
        {"model": "rl:base:job:1", "variant": "L4", "state": "scheduling", "expected_start_s": 5},
        {"model": "warm", "variant": "L4", "state": "ready"},
        {"model": "warm", "variant": "A10G", "state": "starting"},
    ]
}


def test_a_model_that_starts_is_found_by_its_alias() -> None:
    found = in_status(STATUS, {"id": "base", "parent": None}, "Base-Alias", 10)
    assert found == ColdStart("starting", "Base-Alias", "loading", waited_s=10, expected_s=20)


def test_an_adapter_starts_with_its_base_and_a_checkpoint_by_itself() -> None:
    adapter = in_status(STATUS, {"id": "peft:base:job", "parent": "base"}, "peft:base:job", 0)
    assert adapter is not None
    assert adapter.step == "loading"
    checkpoint = in_status(STATUS, {"id": "rl:base:job:1", "parent": "base"}, "rl:base:job:1", 0)
    assert checkpoint is not None
    assert checkpoint.state == "scheduling"


def test_a_model_with_a_warm_variant_is_not_waited_for() -> None:
    assert in_status(STATUS, {"id": "warm", "parent": None}, "warm", 1) is None


def test_without_a_name_any_start_counts() -> None:
    found = in_status(STATUS, None, None, 1)
    assert found is not None
    assert found.model == "base"


def test_the_watch_reports_while_the_block_runs_and_not_after_it() -> None:
    seen: list[ColdStart] = []
    was_told = threading.Event()

    def report(progress: ColdStart) -> None:
        seen.append(progress)
        was_told.set()

    with Watch(lambda waited_s: ColdStart("starting", waited_s=waited_s), report, after_s=0, every_s=0.001):
        assert was_told.wait(10)
    num_seen = len(seen)
    assert num_seen >= 1
    assert threading.active_count() == 1 or not any(each.name == "raymux-cold-start" for each in threading.enumerate())
    assert len(seen) == num_seen


def test_a_watch_that_cannot_look_ends_quietly() -> None:
    seen: list[ColdStart] = []

    def look(waited_s: float) -> ColdStart:
        raise OSError("gone")

    with Watch(look, seen.append, after_s=0) as watch:
        watch._thread.join(10)
    assert seen == []


def test_progress_reads_as_a_sentence() -> None:
    assert str(ColdStart("starting", "m", "warming_up", 3, 12)) == (
        "m is starting (warming up), 3 s so far, about 12 s to go"
    )
    assert str(ColdStart("queued", num_before=2)) == "the model is queued, 2 before this one"
