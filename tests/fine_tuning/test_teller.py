"""What a training tells of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from catalog.fine_tuning import Method, ReportKind, TrainingPlan
from deployments.fine_tuning.folders import Folders
from deployments.fine_tuning.teller import Teller


class Voice:
    """Keeps what is said."""

    is_first = True

    def __init__(self) -> None:
        self.said: list[tuple[ReportKind, dict[str, Any]]] = []

    def take(self, kind: ReportKind, data: dict[str, Any]) -> None:
        self.said.append((kind, data))


def test_a_checkpoint_has_no_validation_loss_of_another_step(tmp_path: Path) -> None:
    """A pause saves between two evaluations."""
    plan = TrainingPlan(job_id="a", method=Method.SUPERVISED, model="m", training_file="f", folder=str(tmp_path))
    folders, voice = Folders(tmp_path), Voice()
    teller: Any = Teller(plan, folders, voice)  # pyright: ignore[reportArgumentType]
    weights = SimpleNamespace(write=lambda folder: None)
    teller.follow(SimpleNamespace(train_dataset={"input_ids": []}), weights)
    for step, metrics in ((10, {"eval_loss": 0.5}), (13, None)):
        state = SimpleNamespace(global_step=step)
        teller.on_evaluate(None, state, None, metrics=metrics)
        (folders.state / f"checkpoint-{step}").mkdir(parents=True)
        teller.on_save(None, state, None)
    told = [data for kind, data in voice.said if kind is ReportKind.CHECKPOINT]
    assert [(each["step"], each["validation_loss"]) for each in told] == [(10, 0.5), (13, None)]
