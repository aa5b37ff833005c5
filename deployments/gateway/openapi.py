"""`GET /openapi.json`: every endpoint, what it takes, and every status that it may answer with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from catalog import errors as tree
from catalog.errors import RaymuxError
from catalog.keys import Access
from catalog.warmups import WarmupRequest
from deployments.gateway.gpus import ValidationRequest
from deployments.gateway.guard import GuardedRoute
from router.endpoints import ENDPOINTS
from router.tuning import JobBody

VERSION = "3.1.0"
Schema = dict[str, Any]

_STRING, _INTEGER, _NUMBER, _BOOLEAN = ({"type": name} for name in ("string", "integer", "number", "boolean"))
_OBJECT = {"type": "object"}
_NULLABLE_STRING = {"type": ["string", "null"]}


class Operation(NamedTuple):
    """What the document says of an endpoint beside what its access implies.

    `body` is the schema of the request, `statuses` those of a success, `reply` its schema (None for no JSON), and
    `refusals` the errors that belong to this endpoint. The body comes as the media type `takes`.
    """

    summary: str
    body: Schema | None = None
    reply: Schema | None = None
    statuses: tuple[int, ...] = (200,)
    refusals: tuple[type[RaymuxError], ...] = ()
    media: str = "application/json"
    has_no_body: bool = False
    takes: str = "application/json"


def _object(required: Schema, **optional: Schema) -> Schema:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _body_of(model: type[BaseModel]) -> Schema:
    schema = model.model_json_schema()
    schema.pop("title", None)
    return schema


_MODEL = _object(
    {
        "id": _STRING, "object": {"const": "model"}, "created": _INTEGER, "owned_by": _STRING, "kind": _STRING,
        "state": _STRING, "ready": _BOOLEAN, "endpoint": _STRING, "gpu_variants": _list_of(_STRING),
        "tasks": _list_of(_STRING), "aliases": _list_of(_STRING),
    }
)  # fmt: skip
_WARMUP = _object({"id": _STRING, "object": {"const": "warmup"}, "model": _STRING, "state": _STRING, "gpu": _STRING})
_ACCEPTED = _object({"id": _STRING, "object": {"const": "model"}, "accepted": _STRING})
_LIST = {"object": {"const": "list"}}
_NAMED = {"type": ["string", "null"], "minLength": 1, "description": "A model; without it the endpoint's default."}
_PREFERENCE = {"description": "A GPU shape, a list of shapes in order, or `auto`."}
_FILE = _object(
    {"id": _STRING, "object": {"const": "file"}, "bytes": _INTEGER, "filename": _STRING, "purpose": _STRING}
)
_JOB = _object({"id": _STRING, "object": {"const": "fine_tuning.job"}, "model": _STRING, "status": _STRING})
_TUNING = (tree.PermissionDenied, tree.InvalidRequest, tree.StoreUnavailable, tree.ModelLoading)
_MANAGED = (tree.ModelNotFound, tree.ModelInUse, tree.InvalidRequest, tree.StoreUnavailable, tree.ModelLoading)
_INFERENCE = (
    tree.ModelNotFound, tree.ModelNotPromoted, tree.RequestInProgress, tree.IdempotencyKeyReused, tree.QueueFull,
    tree.UpstreamError, tree.EmptyResponse, tree.ModelLoading, tree.DeadlineExceeded,
)  # fmt: skip


def _inference_body(**required: Schema) -> Schema:
    optional = {"model": _NAMED, "gpu_preference": _PREFERENCE}
    return {**_object(required, **optional), "additionalProperties": True}


_MESSAGES = _list_of(_object({"role": _STRING, "content": {}}))
_TEXTS = {"anyOf": [_STRING, _list_of(_STRING)]}
_BODIES = {
    "/v1/chat/completions": _inference_body(messages=_MESSAGES),
    "/v1/completions": _inference_body(prompt=_TEXTS),
    "/v1/responses": _inference_body(input={}),
    "/v1/messages": _inference_body(messages=_MESSAGES, max_tokens={"type": "integer", "minimum": 0}),
    "/v1/messages/count_tokens": _inference_body(messages=_MESSAGES),
    "/v1/embeddings": _inference_body(input=_TEXTS),
    "/v1/rerank": _inference_body(query=_STRING, documents=_list_of(_STRING)),
    "/v1/score": _inference_body(text_1=_TEXTS, text_2=_TEXTS),
    "/v1/tokenize": _inference_body(),
    "/v1/detokenize": _inference_body(tokens=_list_of(_INTEGER)),
}
_WRAPPED = {"type": "object", "properties": {"request": _OBJECT}, "required": ["request"]}
_INFERRED = _object({"id": {}, "model": {}, "output": _STRING, "usage": {}, "latency_ms": _NUMBER, "cached": _BOOLEAN})
_CHATTED = _object({"model": {}, "response": _STRING, "finish_reason": {}, "usage": {}, "latency_ms": _NUMBER})
_PROMPT = _inference_body(prompt=_STRING)

OPERATIONS: dict[str, Operation] = {
    "GET /": Operation("What there is", reply=_object({"name": _STRING, "endpoints": _list_of(_STRING)})),
    "GET /v1/health": Operation("Whether the gateway runs", reply=_object({"status": _STRING})),
    "POST /v1/health": Operation("The same", reply=_object({"status": _STRING}), has_no_body=True),
    "GET /v1/ready": Operation(
        "Whether it can answer", reply=_object({"status": _STRING}), refusals=(tree.GatewayNotReady,)
    ),
    "GET /v1/status": Operation(
        "Every variant's state", reply=_object({"object": _STRING, "variants": _list_of(_OBJECT)})
    ),
    "GET /v1/models": Operation("Every model", reply=_object({**_LIST, "data": _list_of(_MODEL)})),
    "POST /v1/models": Operation(
        "Register a model, an adapter or a checkpoint", {**_OBJECT, "properties": {"name": _STRING, "source": _STRING}},
        _MODEL, (201,), (tree.PermissionDenied, tree.ModelExists, *_MANAGED),
    ),
    "GET /v1/models/{id}": Operation("One model", reply=_MODEL, refusals=(tree.ModelNotFound, tree.PermissionDenied)),
    "DELETE /v1/models/{id}": Operation(
        "Remove what was registered at run time", reply=_object({"id": _STRING, "deleted": _BOOLEAN}), refusals=_MANAGED
    ),
    **{
        f"POST /v1/models/{{id}}/{verb}": Operation(
            summary, None, _ACCEPTED, (202,), (*_MANAGED, tree.ModelFailed, tree.ModelStopped), has_no_body=True
        )
        for verb, summary in {
            "promote": "Promote an RL checkpoint", "start": "Start a model", "stop": "Stop a model",
        }.items()
    },
    "GET /v1/warmup": Operation("Warm-ups", reply=_object({**_LIST, "data": _list_of(_WARMUP)})),
    "POST /v1/warmup": Operation(
        "Have a model ready and keep it", _body_of(WarmupRequest), _WARMUP, (200, 202),
        (tree.ModelNotFound, tree.PermissionDenied, tree.ModelStopped, tree.ModelFailed, tree.StoreUnavailable),
    ),
    "GET /v1/warmup/{id}": Operation("One warm-up", reply=_WARMUP, refusals=(tree.WarmupNotFound,)),
    "DELETE /v1/warmup/{id}": Operation(
        "End a warm-up", reply=_WARMUP, refusals=(tree.WarmupNotFound, tree.StoreUnavailable)
    ),
    "GET /v1/gpus": Operation(
        "GPU shapes, and what the cluster has", reply=_object({**_LIST, "data": _list_of(_OBJECT)}),
        refusals=(tree.ModelLoading,),
    ),
    "POST /v1/gpus/validate": Operation(
        "Whether a preference can be met", _body_of(ValidationRequest), _object({"valid": _BOOLEAN}),
        refusals=(tree.ModelNotFound, tree.PermissionDenied, tree.ModelLoading),
    ),
    "POST /v1/webhooks/ingest": Operation(
        "Take an event that its sender has signed", _object({"type": _STRING}, data=_OBJECT),
        _object({"id": _STRING, "status": _STRING}), (202,),
        (tree.InvalidSignature, tree.PermissionDenied, tree.StoreUnavailable, tree.ModelLoading),
    ),
    "GET /v1/webhooks": Operation(
        "Events that were taken", reply=_object({**_LIST, "data": _list_of(_OBJECT)}), refusals=(tree.ModelLoading,)
    ),
    "GET /v1/webhooks/sent": Operation(
        "Events for receivers", reply=_object({**_LIST, "data": _list_of(_OBJECT)}), refusals=(tree.ModelLoading,)
    ),
    "GET /v1/files": Operation(
        "Files of examples", reply=_object({**_LIST, "data": _list_of(_FILE)}), refusals=_TUNING
    ),
    "POST /v1/files": Operation(
        "Upload a file of examples, JSONL", _object({"file": {"type": "string"}, "purpose": {"const": "fine-tune"}}),
        _FILE, refusals=(tree.InvalidTrainingFile, tree.TooManyJobs, *_TUNING), takes="multipart/form-data",
    ),
    "GET /v1/files/{id}": Operation("One file", reply=_FILE, refusals=(tree.TrainingFileNotFound, *_TUNING)),
    "GET /v1/files/{id}/content": Operation(
        "A file's bytes", media="application/octet-stream", refusals=(tree.TrainingFileNotFound, *_TUNING)
    ),
    "DELETE /v1/files/{id}": Operation(
        "Delete a file", reply=_object({"id": _STRING, "deleted": _BOOLEAN}),
        refusals=(tree.TrainingFileNotFound, tree.FileInUse, *_TUNING),
    ),
    "GET /v1/fine_tuning/jobs": Operation(
        "Fine-tuning jobs", reply=_object({**_LIST, "data": _list_of(_JOB)}), refusals=_TUNING
    ),
    "POST /v1/fine_tuning/jobs": Operation(
        "Have a model learn from examples", _body_of(JobBody), _JOB,
        refusals=(
            tree.ModelNotFound, tree.GpuNotSupported, tree.TrainingFileNotFound, tree.ModelExists, tree.TooManyJobs,
            *_TUNING,
        ),
    ),
    "GET /v1/fine_tuning/jobs/{id}": Operation("One job", reply=_JOB, refusals=(tree.JobNotFound, *_TUNING)),
    "GET /v1/fine_tuning/jobs/{id}/events": Operation(
        "What has happened to a job; with `stream=true` as Server-Sent Events",
        reply=_object({**_LIST, "data": _list_of(_OBJECT)}), refusals=(tree.JobNotFound, *_TUNING),
    ),
    "GET /v1/fine_tuning/jobs/{id}/checkpoints": Operation(
        "A job's checkpoints", reply=_object({**_LIST, "data": _list_of(_OBJECT)}),
        refusals=(tree.JobNotFound, *_TUNING),
    ),
    **{
        f"POST /v1/fine_tuning/jobs/{{id}}/{verb}": Operation(
            summary, None, _JOB, refusals=(tree.JobNotFound, tree.JobStateConflict, *_TUNING), has_no_body=True
        )
        for verb, summary in {
            "cancel": "End a job", "pause": "Have a job rest", "resume": "Have a job go on",
        }.items()
    },
    "GET /v1/events": Operation(
        "The fleet's state, and what changes of it, for as long as the client stays", media="text/event-stream"
    ),
    "GET /dashboard": Operation("The dashboard's page", media="text/html"),
    "GET /dashboard/{name}": Operation("A file of the dashboard's page", media="*/*", refusals=(tree.PathNotFound,)),
    "GET /metrics": Operation("Prometheus metrics of all gateways", media="text/plain"),
    "GET /metrics/engines": Operation("The engines' own metrics", media="text/plain"),
    "GET /openapi.json": Operation("This document", reply=_OBJECT),
    **{
        f"POST {endpoint.path}": Operation(
            f"As vLLM's {endpoint.engine_path}", _BODIES[endpoint.path], _OBJECT, refusals=_INFERENCE
        )
        for endpoint in ENDPOINTS
    },
    "POST /v1/infer": Operation("Older form: a prompt", _PROMPT, _INFERRED, refusals=_INFERENCE),
    "POST /v1/infer/stream": Operation(
        "Older form: a prompt, streamed", _PROMPT, refusals=_INFERENCE, media="text/event-stream"
    ),
    "POST /api/inference/chat": Operation(
        "Older form: a message", _inference_body(message=_STRING), _CHATTED, refusals=_INFERENCE
    ),
    "POST /embed": Operation("Older form of embeddings", _WRAPPED, _object({"embeddings": {}}), refusals=_INFERENCE),
    "POST /chat": Operation("Older form of chat", _WRAPPED, _object({"content": _STRING}), refusals=_INFERENCE),
    "GET /api/services": Operation("Older form of the model list", reply=_object({"services": _list_of(_OBJECT)})),
    **{
        f"POST /api/services/{{id}}/{verb}": Operation(
            f"As POST /v1/models/{{id}}/{verb}", None, _ACCEPTED, (202,),
            (*_MANAGED, tree.ModelFailed, tree.ModelStopped), has_no_body=True,
        )
        for verb in ("start", "stop")
    },
}  # fmt: skip


class OpenApi:
    """ASGI app that answers with the document. `routes` may still grow until the first request."""

    def __init__(self, routes: list[GuardedRoute]) -> None:
        self._routes = routes
        self._document: Schema | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._document = self._document or document(self._routes)
        await scope["reply"].whole(200, self._document)


def document(routes: Iterable[GuardedRoute]) -> Schema:
    """The OpenAPI document of these routes. A path that works without its `/v1` too is listed once, with it.

    Raises KeyError for a route of which nothing is said.
    """
    paths: dict[str, Schema] = {}
    listed = list(routes)
    known = {route.path for route in listed}
    for route in listed:
        if f"/v1{route.path}" in known:
            continue
        path = route.path.replace("{id:path}", "{id}")
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation = OPERATIONS[f"{method} {path}"]
            paths.setdefault(path, {})[method.lower()] = _described(operation, method, path, route)
    return {
        "openapi": VERSION,
        "info": {
            "title": "raymux",
            "version": "1",
            "description": "Paths under /v1 also work without it, except /v1/infer's neighbours in /api.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _error_schema()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation, method: str, path: str, route: GuardedRoute) -> Schema:
    content = {operation.media: {"schema": operation.reply} if operation.reply else {}}
    responses: Schema = {str(status): {"description": "OK", "content": content} for status in operation.statuses}
    for status, classes in sorted(_by_status(_refusals(operation, method, route)).items()):
        codes = ", ".join(sorted({each.code for each in classes}))
        responses[str(status)] = {
            "description": f"{HTTPStatus(status).phrase}: {codes}",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    described: Schema = {"summary": operation.summary, "responses": responses}
    names = [name for name in ("id", "name") if f"{{{name}}}" in path]
    if names:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {**_STRING, "minLength": 1}} for name in names
        ]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {operation.takes: {"schema": operation.body}}}
    if route.access in (Access.KEY, Access.ADMIN):
        described["security"] = [{"key": []}]
    return described


def _refusals(operation: Operation, method: str, route: GuardedRoute) -> Iterator[type[RaymuxError]]:
    yield from operation.refusals
    yield tree.InternalError
    if route.access in (Access.KEY, Access.ADMIN):
        yield from (tree.InvalidApiKey, tree.PermissionDenied, tree.RateLimitExceeded, tree.GatewayNotReady)
    if operation.body is not None:
        yield from (tree.InvalidRequest, tree.PayloadTooLarge, tree.UnsupportedMediaType)


def _by_status(classes: Iterable[type[RaymuxError]]) -> dict[int, list[type[RaymuxError]]]:
    found: dict[int, list[type[RaymuxError]]] = {}
    for each in classes:
        found.setdefault(each.status, []).append(each)
    return found


def _error_schema() -> Schema:
    error = _object(
        {
            "message": _STRING, "type": _STRING, "param": _NULLABLE_STRING,
            "code": {"enum": sorted(_codes(RaymuxError))}, "request_id": _NULLABLE_STRING,
        }
    )  # fmt: skip
    return _object({"error": error})


def _codes(cls: type[RaymuxError]) -> set[str]:
    return {cls.code}.union(*(_codes(child) for child in cls.__subclasses__()))
