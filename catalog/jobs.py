"""Fine-tuning files and jobs, as the manager keeps them and gateways show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from catalog.errors import JobStateConflict
from catalog.fine_tuning import TRANSITIONS, Hyperparameters, JobStatus, Method


class Form(StrEnum):
    """What each line of a file is: messages, a prompt with its completion, or two answers of which one is preferred."""

    CHAT = "chat"
    COMPLETION = "completion"
    PREFERENCE = "preference"


FORMS: dict[Method, tuple[Form, ...]] = {
    Method.SUPERVISED: (Form.CHAT, Form.COMPLETION),
    Method.DPO: (Form.PREFERENCE,),
}


class Wish(StrEnum):
    """What a training that runs has been asked for, by pausing it: to stay so, or to wait for its place again."""

    NONE = ""
    PAUSE = "pause"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFile:
    """A file of examples. `location` is a path or URL that fsspec opens; times are seconds since the epoch.

    One that is not kept is still being stored, or to be deleted.
    """

    id: str
    tenant: str
    filename: str
    num_bytes: int
    num_examples: int
    form: Form
    location: str
    created_s: float
    is_kept: bool = True

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TrainingFile:
        """A file as `asdict` wrote it into JSON."""
        return cls(**{**record, "form": Form(record["form"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job as its owner asks for it. `model` is a base model's name, `variants` are the keys that may place it, in
    the order of preference; `given` are the hyperparameters that were not left to the server."""

    tenant: str
    model: str
    variants: tuple[str, ...]
    method: Method
    training_file: str
    validation_file: str | None = None
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    given: tuple[str, ...] = ()
    seed: int = 0
    suffix: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint of a job. `name` is what the model will be called once the job has succeeded."""

    step: int
    at_s: float
    folder: str
    name: str
    loss: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """What has happened to a job. `number` counts from 1; `data` has a report's values where it is one."""

    number: int
    at_s: float
    level: str
    type: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A fine-tuning job.

    `has_training` is set while a training of it may exist, whatever its status: then it is ended before anything else
    is done. `num_heard` is how many reports of the present training were taken; `num_failures` how many trainings were
    lost. `queued_s` gives its place in the queue, and `not_before_s` until when it leaves its GPUs to others.
    `result` is what a training that has finished told of it, until and after it is registered as `fine_tuned_model`.
    """

    id: str
    request: JobRequest
    name: str
    folder: str
    created_s: float
    queued_s: float
    status: JobStatus = JobStatus.VALIDATING_FILES
    wish: Wish = Wish.NONE
    wished_s: float = 0.0
    has_training: bool = False
    num_heard: int = 0
    num_starts: int = 0
    num_failures: int = 0
    num_events: int = 0
    not_before_s: float = 0.0
    started_s: float | None = None
    finished_s: float | None = None
    shape: str | None = None
    waits_for: str = ""
    max_tokens: int = 0
    step: int = 0
    num_steps: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    trained_tokens: int | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    samples: tuple[dict[str, Any], ...] = ()
    result: dict[str, Any] | None = None
    fine_tuned_model: str | None = None
    error_code: str = ""
    error: str = ""
    error_param: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The ids of the files that it reads."""
        request = self.request
        return tuple(each for each in (request.training_file, request.validation_file) if each is not None)

    def moved(self, to: JobStatus, **changes: Any) -> Job:
        """The job in another status. Raises JobStateConflict for a transition that there is none of."""
        if to not in TRANSITIONS[self.status]:
            raise JobStateConflict(f"The job is {self.status}, from which it cannot become {to}.", param="id")
        return replace(self, status=to, **changes)

    def to_record(self) -> dict[str, Any]:
        """The job for JSON."""
        plain = asdict(self)
        plain["request"]["hyperparameters"] = self.request.hyperparameters.model_dump(mode="json")
        return plain

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Job:
        """A job as `to_record` wrote it into JSON."""
        request = dict(record["request"])
        request |= {
            "variants": tuple(request["variants"]),
            "given": tuple(request["given"]),
            "method": Method(request["method"]),
            "hyperparameters": Hyperparameters.model_validate(request["hyperparameters"]),
        }
        return cls(
            **{
                **record,
                "request": JobRequest(**request),
                "status": JobStatus(record["status"]),
                "wish": Wish(record["wish"]),
                "checkpoints": tuple(Checkpoint(**each) for each in record["checkpoints"]),
                "samples": tuple(record["samples"]),
            }
        )


class Curve(NamedTuple):
    """A job with the points of its loss: step, loss and validation loss, either of which may be None."""

    job: Job
    points: tuple[tuple[int, float | None, float | None], ...]
