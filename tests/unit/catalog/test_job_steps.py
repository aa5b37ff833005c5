from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from catalog import job_steps
from catalog.errors import JobStateConflict
from catalog.fine_tuning import TRANSITIONS, JobStatus, Method, Report, ReportKind
from catalog.job_steps import Step
from catalog.jobs import Job, JobRequest, Wish

REQUEST = JobRequest(tenant="t", model="m", variants=("m@CPU",), method=Method.SUPERVISED, training_file="f")


def job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "ftjob-1", "request": REQUEST, "name": "peft:m:ftjob-1", "folder": "d", "created_s": 1.0, "queued_s": 1.0,
    }  # fmt: skip
    return Job(**{**fields, **changes})


def report(kind: ReportKind, **data: Any) -> Report:
    return Report(1, 5.0, kind, data)


def hear(before: Job, kind: ReportKind, **data: Any) -> Step:
    return job_steps.reported(before, report(kind, **data), "name", 9.0)


_STEPS: dict[str, Callable[[Job], Step | None]] = {
    "validated": lambda each: job_steps.validated(each, 10),
    "failed": lambda each: job_steps.failed(each, 9.0, "code", "reason"),
    "started": lambda each: job_steps.started(each, "CPU", 9.0),
    "ended": job_steps.training_ended,
    "waiting": lambda each: job_steps.waiting(each, "why"),
    "lost": lambda each: job_steps.lost(each, 9.0, 2),
    "cancel": lambda each: job_steps.cancelled(each, 9.0),
    "pause": lambda each: job_steps.paused(each, 9.0),
    "resume": lambda each: job_steps.resumed(each, 9.0),
    "yield": lambda each: job_steps.asked_to_yield(each, 9.0),
    "away": lambda each: job_steps.put_away(each, 9.0),
    "registered": lambda each: job_steps.registered(each, 9.0, "name"),
    **{
        kind: lambda each, kind=kind: hear(each, kind, step=3, folder="d", reason="r", trained_tokens=1)
        for kind in ReportKind
    },
}


@given(st.lists(st.sampled_from(sorted(_STEPS)), max_size=30))
def test_whatever_happens_a_job_moves_as_the_table_says(names: list[str]) -> None:
    now = job()
    for name in names:
        try:
            taken = _STEPS[name](now)
        except JobStateConflict:
            continue
        if taken is None:
            continue
        after = taken.job
        assert after.status is now.status or after.status in TRANSITIONS[now.status], name
        if after.status.has_ended:
            assert after.finished_s is not None
            assert (after.wish, after.waits_for) == (Wish.NONE, "") or now.status.has_ended
        if after.wish is not Wish.NONE:
            assert after.status is JobStatus.RUNNING
        assert Job.from_record(json.loads(json.dumps(after.to_record()))) == after
        now = after


def test_a_loss_that_is_no_number_is_none() -> None:
    running = job(status=JobStatus.RUNNING)
    taken = hear(running, ReportKind.METRICS, step=1, num_steps=2, loss=math.nan, tokens_per_second=math.inf)
    assert (taken.job.loss, taken.job.tokens_per_second) == (None, None)
    json.dumps(taken.notes[0].data, allow_nan=False)


def test_checkpoints_that_are_made_anew_take_the_place_of_those_before() -> None:
    running = job(status=JobStatus.RUNNING)
    for step, loss in ((10, 0.5), (20, 0.4), (10, 0.3)):
        running = hear(running, ReportKind.CHECKPOINT, step=step, folder="d", loss=loss).job
    assert [(made.step, made.loss) for made in running.checkpoints] == [(10, 0.3), (20, 0.4)]


def test_a_note_of_a_checkpoint_holds_no_path() -> None:
    (note,) = hear(job(status=JobStatus.RUNNING), ReportKind.CHECKPOINT, step=1, folder="/secret", loss=0.5).notes
    assert "secret" not in str(note)
