"""A training in the cluster: a detached actor that has Ray Train run it, and keeps what it says.

The manager may die and another one find it by its name. Whoever kills it ends the training: the controller and workers
of Ray Train are its children, and leave with it. Their placement group does not, so who kills it on purpose removes
that too. After an accident Ray Train's own cleaner (2.60) does, once it has learned from Ray's dashboard of the
controller's death, which takes some seconds.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from catalog.fine_tuning import Report, ReportKind, TrainingPlan
from deployments.fine_tuning.folders import Folders
from deployments.fine_tuning.packages import environment

logger = logging.getLogger("ray.train")

NAMESPACE = "raymux-fine-tuning"
# A manager hears everything within seconds; what is older than this many reports it has heard, or will never ask for.
MAX_REPORTS = 20_000


def start_supervisor(plan: TrainingPlan) -> None:
    """Start a plan's training, which goes on from its last checkpoint. Raises ValueError when there is one already."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options: dict[str, Any] = {
        "name": _name(plan.job_id),
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": 0,
        "max_concurrency": 8,
        "runtime_env": {"env_vars": environment()},
        # Beside the manager: a node that may leave when nothing runs there is no place for it.
        "scheduling_strategy": here,
    }
    ray.remote(Supervisor).options(**options).remote(plan)


def find_supervisor(job_id: str) -> ActorHandle[Supervisor] | None:
    """The supervisor of a job's training, or None."""
    try:
        return cast("ActorHandle[Supervisor]", ray.get_actor(_name(job_id), namespace=NAMESPACE))
    except ValueError:
        return None


def _name(job_id: str) -> str:
    return f"fine-tuning-{job_id}"


class Supervisor:
    """Runs one plan's training, from its construction on."""

    def __init__(self, plan: TrainingPlan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._reports: list[Report] = []
        self._outcome: tuple[ReportKind, dict[str, Any]] | None = None
        self._is_pausing = False
        self._num_starts = 0
        self._place: PlacementGroup | None = None
        threading.Thread(target=self._run, name="training", daemon=True).start()

    # Called by the manager

    def news(self, since: int) -> list[Report]:
        """The reports with a number above `since`."""
        with self._lock:
            return [report for report in self._reports if report.number > since]

    def pause(self) -> None:
        """Have the training save a checkpoint after the step it is at, and stop."""
        self._is_pausing = True

    def place(self) -> PlacementGroup | None:
        """What the workers hold, once they do."""
        return self._place

    # Called by the workers

    def begin(self, place: PlacementGroup | None) -> None:
        """The workers run in this placement group, for the first time or again."""
        self._place = place
        self._outcome = None
        self._num_starts += 1
        if self._num_starts > 1:
            self.take(ReportKind.RESTARTED, {"reason": "a worker or its node died"})

    def take(self, kind: ReportKind, data: dict[str, Any]) -> None:
        """Keep what is said on the way."""
        with self._lock:
            self._reports.append(Report(next(self._numbers), time.time(), kind, data))
            del self._reports[:-MAX_REPORTS]

    def end(self, kind: ReportKind, data: dict[str, Any]) -> None:
        """Keep what became of the training; it is told when all of its resources are free."""
        self._outcome = kind, data

    def is_pausing(self) -> bool:
        """Whether the workers should stop."""
        return self._is_pausing

    def _run(self) -> None:
        try:
            _train(self._plan)
            told = self._outcome or (ReportKind.FAILED, {"reason": "The training ended without a result."})
        except Exception as error:
            # Ray Train has logged whose fault it was.
            logger.error("the training of %s failed: %s", self._plan.job_id, type(error).__name__)
            times = self._plan.max_failures + 1
            died = ReportKind.FAILED, {"reason": f"The training's workers or its own process failed {times} times."}
            told = self._outcome if self._outcome and self._outcome[0] is ReportKind.FAILED else died
        self.take(*told)


def _train(plan: TrainingPlan) -> None:
    """Run the plan on workers of Ray Train; returns when they have left. Raises what Ray Train gives up with."""
    # Imported here, since the manager asks this module for supervisors only.
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    folders = Folders(Path(plan.folder))
    own = folders.of_ray()
    on_gpus = bool(plan.worker_resources.get("GPU"))
    try:
        TorchTrainer(
            _work,
            train_loop_config={"plan": plan},
            torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=plan.num_workers,
                use_gpu=on_gpus,
                resources_per_worker=plan.worker_resources or {"CPU": 1},
                placement_strategy=plan.strategy,
            ),
            run_config=RunConfig(
                name=own.name,
                storage_path=str(own.parent),
                failure_config=FailureConfig(max_failures=plan.max_failures),
            ),
        ).fit()
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _work(config: dict[str, Any]) -> None:
    """What Ray Train calls in each worker."""
    # Imported there alone: it takes ten seconds of a core.
    from deployments.fine_tuning.training import train

    train(config["plan"])
