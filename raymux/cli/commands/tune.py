"""`raymux tune`: from a file of examples to a model that answers in their way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from raymux.cli.connection import Session, connected
from raymux.cli.errors import CliError
from raymux.cli.gpus import Gpu, preference
from raymux.cli.output import Progress, print_json, print_json_line, print_table

app = typer.Typer(help="Fine-tuning jobs: examples in, a model that is called by name out.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="A job's id, as `raymux tune list` shows it.")]
JOBS = "/v1/fine_tuning/jobs"
LOOK_EVERY_S = 1.0
MAX_LISTED = 100
ENDED = ("succeeded", "failed", "cancelled")


class Method(StrEnum):
    """How a job learns."""

    SUPERVISED = "supervised"
    DPO = "dpo"


class Weights(StrEnum):
    """What a job trains."""

    LORA = "lora"
    FULL = "full"


@connected(app, "create")
def create(
    session: Session,
    model: Annotated[str, typer.Argument(help="The base model that learns.")],
    examples: Annotated[str, typer.Argument(help="A JSONL file of examples, or the id of one that was uploaded.")],
    validation: Annotated[
        str | None, typer.Option(help="Examples that are not learned from, by which it is judged; as EXAMPLES.")
    ] = None,
    method: Annotated[Method, typer.Option(help="From answers, or from preferences.")] = Method.SUPERVISED,
    suffix: Annotated[str | None, typer.Option(help="The last part of the new model's name.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the examples.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples of one step.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate-multiplier", help="Of the method's own rate.")
    ] = None,
    beta: Annotated[float | None, typer.Option(help="DPO: how close to stay to the model before.")] = None,
    weights: Annotated[Weights | None, typer.Option(help="An adapter, or the whole model.")] = None,
    lora_rank: Annotated[int | None, typer.Option(min=1, help="Rank of the adapter.")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option("--checkpoint-every-steps", min=1, help="Without it one after each epoch.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="For a job that comes out the same again.")] = None,
    gpu: Gpu = None,
    follow: Annotated[bool, typer.Option("--watch", help="Show how far it is until it has ended.")] = False,
) -> None:
    """Start a job; a file that is named by its path is uploaded first."""
    wishes = {
        "n_epochs": epochs, "batch_size": batch_size, "learning_rate_multiplier": learning_rate, "beta": beta,
        "weights": weights, "lora_rank": lora_rank, "checkpoint_every_steps": checkpoint_every,
    }  # fmt: skip
    given = {name: value for name, value in wishes.items() if value is not None}
    body: dict[str, Any] = {
        "model": model,
        "training_file": _file(session, examples),
        "method": {"type": method, method: {"hyperparameters": given}},
    }
    if validation is not None:
        body["validation_file"] = _file(session, validation)
    body |= preference(gpu) | {name: value for name, value in (("suffix", suffix), ("seed", seed)) if value is not None}
    job = session.api.post(JOBS, body)
    if follow:
        _watch(session, job["id"])
    else:
        session.show(job, f"{job['id']} is {_status(job)}; `raymux tune watch {job['id']}` shows how far it is.")


@connected(app, "list")
def list_jobs(session: Session) -> None:
    """The jobs of this key's tenant, newest first."""
    reply = session.api.get(JOBS, limit=MAX_LISTED)
    if session.is_json:
        print_json(reply)
        return
    rows = [
        (job["id"], job["model"], job["method"]["type"], _status(job), _steps(job), job["fine_tuned_model"])
        for job in reply["data"]
    ]
    print_table(("JOB", "MODEL", "METHOD", "STATUS", "STEP", "RESULT"), rows, "There are no jobs.")


@connected(app, "get")
def get_job(session: Session, job: Id) -> None:
    """One job: how it stands, what it was asked, and what came of it."""
    found = session.api.get(f"{JOBS}/{job}")
    if session.is_json:
        print_json(found)
        return
    own = found["raymux"]
    rows = {
        "job": found["id"], "status": _status(found), "model": found["model"], "method": found["method"]["type"],
        "step": _steps(found), "loss": own["loss"], "validation": _validation(own), "gpu": own["gpu"],
        "waits": own["waits_for"], "error": (found["error"] or {}).get("message"),
        "result": found["fine_tuned_model"],
    }  # fmt: skip
    for name, value in rows.items():
        if value not in (None, ""):
            print(f"{name:<12}{value}")
    for sample in own["samples"]:
        print(f"\nprompt      {sample['prompt']}\nbefore      {sample['before']}\nafter       {sample['after']}")
    if found["fine_tuned_model"]:
        print(f"\nraymux inference chat --model {found['fine_tuned_model']} --message 'Hello'")


@connected(app, "watch")
def watch(session: Session, job: Id) -> None:
    """Show how far a job is until it has ended; with `--output json` each event on a line, and last the job."""
    _watch(session, job)


@connected(app, "cancel")
def cancel(session: Session, job: Id) -> None:
    """End a job; its GPUs are free within seconds."""
    _order(session, job, "cancel")


@connected(app, "pause")
def pause(session: Session, job: Id) -> None:
    """Have a job rest, from a checkpoint on; its GPUs are free meanwhile."""
    _order(session, job, "pause")


@connected(app, "resume")
def resume(session: Session, job: Id) -> None:
    """Have a job that rests go on."""
    _order(session, job, "resume")


def _order(session: Session, id: str, verb: str) -> None:
    job = session.api.post(f"{JOBS}/{id}/{verb}")
    session.show(job, f"{job['id']} is {_status(job)}.")


def _file(session: Session, named: str) -> str:
    """The id of a file that was uploaded before, or is now."""
    path = Path(named)
    if named.startswith("file-") and not path.exists():
        return named
    return session.api.upload("/v1/files", path, purpose="fine-tune")["id"]


def _watch(session: Session, id: str) -> None:
    last: str | None = None
    with Progress(is_shown=not session.is_json) as progress:
        while True:
            # The job first: what has happened by its end is then among the events.
            job = session.api.get(f"{JOBS}/{id}")
            for event in _fresh(session, id, last):
                last = event["id"]
                if session.is_json:
                    print_json_line(event)
                elif event["type"] == "message":
                    progress.say(event["message"])
            progress.show(job["raymux"]["step"], job["raymux"]["num_steps"], _line(job))
            if job["status"] in ENDED:
                break
            time.sleep(LOOK_EVERY_S)
    if session.is_json:
        print_json_line(job)
    if job["status"] != "succeeded":
        raise CliError(f"{id} is {job['status']}{_reason(job)}")
    if not session.is_json:
        print(job["fine_tuned_model"])


def _fresh(session: Session, id: str, last: str | None) -> Iterator[dict[str, Any]]:
    """The events after one, oldest first."""
    newest = session.api.get(f"{JOBS}/{id}/events", limit=MAX_LISTED)["data"]
    ids = [event["id"] for event in newest]
    yield from reversed(newest[: ids.index(last)] if last in ids else newest)


def _status(job: dict[str, Any]) -> str:
    status = job["status"].replace("_", " ")
    return f"{status}, and about to pause" if job["raymux"]["wish"] == "pause" else status


def _line(job: dict[str, Any]) -> str:
    own = job["raymux"]
    if job["status"] == "running" and own["loss"] is not None:
        return f"loss {own['loss']:.4f}" + (
            f", {own['tokens_per_second']:.0f} tokens/s" if own["tokens_per_second"] else ""
        )
    return own["waits_for"] or _status(job)


def _steps(job: dict[str, Any]) -> str:
    own = job["raymux"]
    return f"{own['step']}/{own['num_steps']}" if own["num_steps"] else ""


def _validation(own: dict[str, Any]) -> str | None:
    before, after = own["validation_loss_before"], own["validation_loss"]
    return None if before is None or after is None else f"loss {before:.4f} before, {after:.4f} after"


def _reason(job: dict[str, Any]) -> str:
    return f": {job['error']['message']}" if job.get("error") else "."
