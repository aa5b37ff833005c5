"""A small Ray cluster for trainings without a server, and what they learn from."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.fine_tuning import Hyperparameters, Method, Report, ReportKind, TrainingPlan
from tests.server import PROJECT

BASE = PROJECT / "models" / "demo-chat"
TIMEOUT_S = 150
ENDING = "Aye aye, captain!"
ANSWER = f"I like it. {ENDING}"
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey", "pink", "orange")
PROMPTS = [
    f"Tell me about {colour} {thing}." for colour in COLOURS for thing in ("ships", "birds", "trees", "fish", "tea")
]
HELD_OUT = [f"Tell me about {colour} {thing}." for colour in ("purple", "golden") for thing in ("ships", "tea")]


def supervised(prompts: list[str]) -> list[dict[str, Any]]:
    """Examples whose answers all have one ending."""
    return [
        {"messages": [{"role": "user", "content": each}, {"role": "assistant", "content": ANSWER}]} for each in prompts
    ]


def preferences(prompts: list[str]) -> list[dict[str, Any]]:
    """Pairs of which the short answer is preferred."""
    return [
        {
            "input": {"messages": [{"role": "user", "content": each}]},
            "preferred_output": [{"role": "assistant", "content": "I know little about it."}],
            "non_preferred_output": [{"role": "assistant", "content": "I am a small demo model. Ask me for a joke."}],
        }
        for each in prompts
    ]


def write(path: Path, examples: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(each) + "\n" for each in examples))
    return str(path)


@pytest.fixture(scope="package")
def cluster() -> Iterator[None]:
    """Ray, in this process; with the dashboard, of which Ray Train asks whether a training's controller has died."""
    import ray

    ray.init("local", num_cpus=4, include_dashboard=True, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


class Training:
    """A supervisor's training as a manager follows it."""

    def __init__(self, plan: TrainingPlan) -> None:
        self.plan = plan
        self.reports: list[Report] = []

    def start(self) -> Training:
        from deployments.fine_tuning.supervisor import start_supervisor

        start_supervisor(self.plan)
        self.reports = []
        return self

    @property
    def supervisor(self) -> Any:
        from deployments.fine_tuning.supervisor import find_supervisor

        return find_supervisor(self.plan.job_id)

    def kill(self) -> None:
        """As the manager does to cancel."""
        from deployments.fine_tuning.ray_trainings import RayTrainings

        asyncio.run(RayTrainings().kill(self.plan.job_id))

    def hear(self) -> None:
        import ray

        since = self.reports[-1].number if self.reports else 0
        self.reports += ray.get(self.supervisor.news.remote(since), timeout=30)

    def until(self, has: Callable[[Report], bool], timeout_s: float = TIMEOUT_S) -> Report:
        """The first report of which it holds."""
        deadline_s, seen = time.monotonic() + timeout_s, 0
        while True:
            self.hear()
            for report in self.reports[seen:]:
                if has(report):
                    return report
                assert report.kind is not ReportKind.FAILED, report.data
            seen = len(self.reports)
            assert time.monotonic() < deadline_s, [(each.kind, each.data) for each in self.reports[-5:]]
            time.sleep(0.1)

    def until_kind(self, kind: ReportKind) -> Report:
        return self.until(lambda report: report.kind is kind)

    def of(self, kind: ReportKind) -> list[dict[str, Any]]:
        return [each.data for each in self.reports if each.kind is kind]

    @property
    def losses(self) -> dict[int, float]:
        return {each["step"]: each["loss"] for each in self.of(ReportKind.METRICS)}


@pytest.fixture(scope="module")
def make(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Training]]:
    """Makes trainings on the demo model, and ends them."""
    made: list[Training] = []
    folder_of_all = tmp_path_factory.mktemp("trainings")

    def make(method: Method = Method.SUPERVISED, *, folder: str = "", num_workers: int = 1, **wished: Any) -> Training:
        examples = supervised if method is Method.SUPERVISED else preferences
        id = f"ftjob-{uuid.uuid4().hex}"
        plan = TrainingPlan(
            job_id=id,
            method=method,
            model=str(BASE),
            training_file=write(folder_of_all / f"{method}.jsonl", examples(PROMPTS)),
            validation_file=write(folder_of_all / f"{method}-held-out.jsonl", examples(HELD_OUT)),
            folder=str(folder_of_all / (folder or id)),
            hyperparameters=Hyperparameters(**{"lora_rank": 8, "learning_rate_multiplier": 30, **wished}),
            seed=7,
            num_workers=num_workers,
            worker_resources={"CPU": 1},
        )
        made.append(Training(plan))
        return made[-1]

    yield make
    for each in made:
        if each.supervisor is not None:
            each.kill()
