"""Fine-tuning jobs over HTTP: `/v1/fine_tuning/jobs`, as OpenAI's clients use it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from catalog.catalog import Target
from catalog.errors import InvalidRequest
from catalog.fine_tuning import Hyperparameters
from catalog.gpus import spills
from catalog.jobs import Job, JobRequest
from catalog.keys import Access
from deployments.gateway.departure import Departure
from deployments.gateway.fine_tuning_replies import shown, shown_checkpoint, shown_event
from deployments.gateway.fleet import Fleet
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.job_events import JobEvents
from deployments.gateway.json_body import read_fields
from deployments.gateway.json_handler import JsonHandler
from deployments.gateway.paging import page
from deployments.gateway.tuning_line import TuningLine
from router.resolve import find
from router.tuning import JobBody, hyperparameters_of, method_of, seed_of
from router.variants import eligible, preferred_shapes


class FineTuningJobs:
    """Handlers of the job endpoints. A caller sees the jobs of its own tenant."""

    def __init__(self, fleet: Fleet, departure: Departure) -> None:
        self._fleet = fleet
        self._line = TuningLine(fleet)
        self._events = Events(JsonHandler(self.events), JobEvents(self._line, departure))

    def routes(self, prefix: str) -> list[GuardedRoute]:
        """The routes under a prefix such as `/v1`."""
        key, path = Access.KEY, f"{prefix}/fine_tuning/jobs"
        verbs = {"cancel": self.cancel, "pause": self.pause, "resume": self.resume}
        return [
            GuardedRoute(path, JsonHandler(self.list), methods=["GET"], access=key),
            GuardedRoute(path, JsonHandler(self.create), methods=["POST"], access=key),
            GuardedRoute(f"{path}/{{id}}", JsonHandler(self.get), methods=["GET"], access=key),
            GuardedRoute(f"{path}/{{id}}/events", self._events, methods=["GET"], access=key),
            GuardedRoute(f"{path}/{{id}}/checkpoints", JsonHandler(self.checkpoints), methods=["GET"], access=key),
            *(
                GuardedRoute(f"{path}/{{id}}/{verb}", JsonHandler(handler), methods=["POST"], access=key)
                for verb, handler in verbs.items()
            ),
        ]

    async def create(self, request: Request) -> tuple[int, dict[str, Any]]:
        self._line.require_settings()
        body = await read_fields(request, JobBody)
        caller = request.scope["exchange"].caller
        target = find(self._fleet.catalog, body.model, caller)
        method, given = method_of(body)
        hyperparameters = hyperparameters_of(method, given, _max_rank(target))
        require_trainable(target, hyperparameters)
        shapes = preferred_shapes(request.headers.get("x-gpu-preference"), body.gpu_preference)
        wanted = JobRequest(
            tenant=caller.tenant,
            model=target.name,
            variants=_variants(target, shapes),
            method=method,
            training_file=body.training_file,
            validation_file=body.validation_file,
            hyperparameters=hyperparameters,
            given=tuple(given),
            seed=seed_of(body),
            suffix=body.suffix,
            metadata=body.metadata or {},
        )
        return 200, shown(await self._line.ask("create", wanted))

    async def list(self, request: Request) -> tuple[int, dict[str, Any]]:
        jobs: list[Job] = await self._line.ask("jobs", _tenant(request))
        wanted = {
            name.removeprefix("metadata[").removesuffix("]"): value
            for name, value in request.query_params.items()
            if name.startswith("metadata[") and name.endswith("]")
        }
        found = [job for job in reversed(jobs) if wanted.items() <= job.request.metadata.items()]
        return 200, page([shown(job) for job in found], request.query_params)

    async def get(self, request: Request) -> tuple[int, dict[str, Any]]:
        return 200, shown(await self._line.job(_tenant(request), request.path_params["id"]))

    async def checkpoints(self, request: Request) -> tuple[int, dict[str, Any]]:
        job: Job = await self._line.ask("job", _tenant(request), request.path_params["id"])
        found = [shown_checkpoint(job, made) for made in reversed(job.checkpoints)]
        return 200, page(found, request.query_params, limit=10)

    async def cancel(self, request: Request) -> tuple[int, dict[str, Any]]:
        return await self._order("cancel", request)

    async def pause(self, request: Request) -> tuple[int, dict[str, Any]]:
        return await self._order("pause", request)

    async def resume(self, request: Request) -> tuple[int, dict[str, Any]]:
        return await self._order("resume", request)

    async def _order(self, verb: str, request: Request) -> tuple[int, dict[str, Any]]:
        return 200, shown(await self._line.ask(verb, _tenant(request), request.path_params["id"]))

    async def events(self, request: Request) -> tuple[int, dict[str, Any]]:
        job, events = await self._line.ask("events", _tenant(request), request.path_params["id"])
        await self._line.see(job)
        return 200, page([shown_event(job, event) for event in reversed(events)], request.query_params)


class Events:
    """ASGI app: the events of a job as a list, or as a stream for whoever wants one."""

    def __init__(self, listed: JsonHandler, stream: JobEvents) -> None:
        self._listed = listed
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        wanted = request.query_params.get("stream")
        if wanted not in (None, "true", "false"):
            raise InvalidRequest("stream must be true or false.", param="stream")
        accepts = "text/event-stream" in request.headers.get("accept", "")
        app = self._stream if wanted == "true" or (wanted is None and accepts) else self._listed
        await app(scope, receive, send)


def require_trainable(target: Target, hyperparameters: Hyperparameters) -> None:
    """Raise InvalidRequest unless jobs may train such weights of this model."""
    reason = None
    if target.upstream is not None:
        reason = f"{target.name} is served by an outside provider, and cannot be trained here."
    elif target.kind != "base":
        reason = f"{target.name} is no base model; name {target.base} to train on it."
    elif "generate" not in target.tasks:
        reason = f"{target.name} does not generate text, so it does not learn from such examples."
    if reason is not None:
        raise InvalidRequest(reason, param="model")
    max_rank = _max_rank(target)
    if hyperparameters.weights == "full":
        return
    if max_rank is None:
        raise InvalidRequest(
            f"{target.name} serves no LoRA adapters: its operator must give it an `adapters:` section, or train"
            " with `weights: full`.",
            param="model",
        )
    if hyperparameters.lora_rank > max_rank:
        raise InvalidRequest(
            f"lora_rank may be at most {max_rank}, which is the `max_rank` of {target.name}.",
            param="hyperparameters.lora_rank",
        )


def _max_rank(target: Target) -> int | None:
    pool = target.variants[0].adapters if target.variants else None
    return pool.max_rank if pool is not None else None


def _variants(target: Target, shapes: tuple[str, ...]) -> tuple[str, ...]:
    """The variants that may place the job. Left to the server, a CPU that stands in for GPUs does not.

    Raises GpuNotSupported.
    """
    wanted = eligible(target, shapes)
    if shapes:
        return tuple(each.key for each in wanted)
    stand_ins = spills([each.settings.shape for each in wanted])
    return tuple(each.key for each, is_stand_in in zip(wanted, stand_ins, strict=True) if not is_stand_in)


def _tenant(request: Request) -> str:
    return request.scope["exchange"].caller.tenant
