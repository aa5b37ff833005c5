"""Every error raymux reports to a caller, and the one shape it is reported in.

RaymuxError
├── RequestError                the caller must change the request (4xx)
│   ├── InvalidRequest          400 invalid_request
│   ├── ContextLengthExceeded   400 context_length_exceeded
│   ├── InvalidGpuPreference    400 invalid_gpu_preference
│   ├── GpuNotSupported         400 gpu_not_supported_for_model
│   ├── AdapterRejected         400 adapter_rejected
│   ├── InvalidTrainingFile     400 invalid_training_file
│   ├── InvalidApiKey           401 invalid_api_key
│   ├── InvalidSignature        401 invalid_signature
│   ├── PermissionDenied        403 permission_denied
│   ├── ModelNotFound           404 model_not_found
│   ├── PathNotFound            404 not_found
│   ├── WarmupNotFound          404 warmup_not_found
│   ├── TrainingFileNotFound    404 file_not_found
│   ├── JobNotFound             404 job_not_found
│   ├── MethodNotAllowed        405 method_not_allowed
│   ├── ModelNotPromoted        409 model_not_promoted
│   ├── ModelExists             409 model_exists
│   ├── ModelInUse              409 model_in_use
│   ├── FileInUse               409 file_in_use
│   ├── JobStateConflict        409 job_state_conflict
│   ├── RequestInProgress       409 request_in_progress
│   ├── PayloadTooLarge         413 payload_too_large
│   ├── UnsupportedMediaType    415 unsupported_media_type
│   ├── IdempotencyKeyReused    422 idempotency_key_reused
│   ├── RateLimitExceeded       429 rate_limit_exceeded
│   ├── QueueFull               429 queue_full
│   └── TooManyJobs             429 too_many_jobs
└── ServiceError                the same request may succeed later (5xx)
    ├── InternalError           500 internal_error
    ├── UpstreamError           502 upstream_error
    ├── EmptyResponse           502 empty_response
    ├── ModelLoading            503 model_loading
    ├── ModelStopped            503 model_stopped
    ├── ModelFailed             503 model_failed
    ├── GpuUnavailable          503 gpu_unavailable
    ├── CircuitOpen             503 circuit_open
    ├── StoreUnavailable        503 store_unavailable
    ├── UpstreamRateLimited     503 upstream_rate_limited
    ├── ProviderNotConfigured   503 provider_not_configured
    ├── GatewayNotReady         503 gateway_not_ready
    └── DeadlineExceeded        504 deadline_exceeded

An error is built from its message and keywords and survives pickling, because Ray carries errors between processes.
"""

from __future__ import annotations

from typing import Any

MAX_RETRY_AFTER_S = 120


class RaymuxError(Exception):
    """An error with a status, a code and a message that says what to do next.

    `param` names the offending field of the request, `retry_after_s` (seconds, capped at 120) becomes `Retry-After`.
    """

    status = 500
    code = "internal_error"
    type = "server_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.param, self.retry_after_s)

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The JSON object of the error, in the shape of OpenAI's API reference."""
        return error_body(self.message, type_=self.type, code=self.code, param=self.param, request_id=request_id)

    def headers(self) -> dict[str, str]:
        """Response headers that belong to the error: `Retry-After` where a retry may help."""
        if self.retry_after_s is None:
            return {}
        return {"retry-after": str(min(MAX_RETRY_AFTER_S, max(1, round(self.retry_after_s))))}


def _rebuild(cls: type[RaymuxError], message: str, param: str | None, retry_after_s: float | None) -> RaymuxError:
    return cls(message, param=param, retry_after_s=retry_after_s)


def error_body(
    message: str, *, type_: str, code: str, param: str | None = None, request_id: str | None = None
) -> dict[str, Any]:
    """`{"error": {...}}` as OpenAI's clients read it, with the request id added."""
    return {"error": {"message": message, "type": type_, "param": param, "code": code, "request_id": request_id}}


class RequestError(RaymuxError):
    """The caller must change the request."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class InvalidRequest(RequestError):
    """The request is malformed, or a value in it is out of its range."""


class ContextLengthExceeded(RequestError):
    """Prompt and requested completion do not fit the model's context."""

    code = "context_length_exceeded"


class InvalidGpuPreference(RequestError):
    """The preference is no list of GPU shapes."""

    code = "invalid_gpu_preference"


class GpuNotSupported(RequestError):
    """The model has no variant of a preferred shape."""

    code = "gpu_not_supported_for_model"


class AdapterRejected(RequestError):
    """The adapter's files cannot be served on its base model."""

    code = "adapter_rejected"


class InvalidTrainingFile(RequestError):
    """A file holds something else than examples; the message says in which lines, and what."""

    code = "invalid_training_file"


class InvalidApiKey(RequestError):
    """The request has no API key, or none that is known."""

    status = 401
    code = "invalid_api_key"

    def headers(self) -> dict[str, str]:
        """`WWW-Authenticate`, which RFC 9110 asks of every 401."""
        return {"www-authenticate": "Bearer"}


class InvalidSignature(RequestError):
    """A webhook's signature is missing, wrong or too old."""

    status = 401
    code = "invalid_signature"


class PermissionDenied(RequestError):
    """The caller may not do this."""

    status = 403
    code = "permission_denied"


class ModelNotFound(RequestError):
    """No model, adapter or checkpoint has exactly this name."""

    status = 404
    code = "model_not_found"


class PathNotFound(RequestError):
    """No endpoint has this path."""

    status = 404
    code = "not_found"


class WarmupNotFound(RequestError):
    """No warm-up has this id; one that has ended is forgotten after a while."""

    status = 404
    code = "warmup_not_found"


class TrainingFileNotFound(RequestError):
    """The caller's tenant has no file with this id."""

    status = 404
    code = "file_not_found"


class JobNotFound(RequestError):
    """The caller's tenant has no fine-tuning job with this id."""

    status = 404
    code = "job_not_found"


class MethodNotAllowed(RequestError):
    """The endpoint exists, but not for this method."""

    status = 405
    code = "method_not_allowed"


class ModelNotPromoted(RequestError):
    """The checkpoint waits for a promotion, and `auto_promote` is off."""

    status = 409
    code = "model_not_promoted"


class ModelExists(RequestError):
    """Another model has this name already."""

    status = 409
    code = "model_exists"


class ModelInUse(RequestError):
    """Requests, a warm-up or other models need the model right now."""

    status = 409
    code = "model_in_use"


class FileInUse(RequestError):
    """A fine-tuning job that has not ended needs the file."""

    status = 409
    code = "file_in_use"


class JobStateConflict(RequestError):
    """The fine-tuning job is in a state in which this cannot be done to it."""

    status = 409
    code = "job_state_conflict"


class RequestInProgress(RequestError):
    """A request with the same Idempotency-Key has not ended yet."""

    status = 409
    code = "request_in_progress"


class PayloadTooLarge(RequestError):
    """The body is larger than the gateway accepts."""

    status = 413
    code = "payload_too_large"


class UnsupportedMediaType(RequestError):
    """The body is not JSON."""

    status = 415
    code = "unsupported_media_type"


class IdempotencyKeyReused(RequestError):
    """The Idempotency-Key came with another request before."""

    status = 422
    code = "idempotency_key_reused"


class RateLimitExceeded(RequestError):
    """The caller has used up what it may ask in a minute."""

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"


class QueueFull(RequestError):
    """As many requests wait for the model as may wait."""

    status = 429
    code = "queue_full"
    type = "rate_limit_error"


class TooManyJobs(RequestError):
    """The caller's tenant has as many fine-tuning jobs under way, or files, as it may."""

    status = 429
    code = "too_many_jobs"
    type = "rate_limit_error"


class ServiceError(RaymuxError):
    """The same request may succeed later."""

    status = 503
    code = "service_unavailable"


class InternalError(ServiceError):
    """A fault of raymux itself."""

    status = 500
    code = "internal_error"


class UpstreamError(ServiceError):
    """An engine or provider answered badly, or went away while it answered."""

    status = 502
    code = "upstream_error"


class EmptyResponse(ServiceError):
    """An engine or provider answered without content."""

    status = 502
    code = "empty_response"


class ModelLoading(ServiceError):
    """The model is starting, and the caller asked not to wait or has waited long enough."""

    code = "model_loading"


class ModelStopped(ServiceError):
    """The model was stopped by hand."""

    code = "model_stopped"


class ModelFailed(ServiceError):
    """The model could not start; the message holds the reason."""

    code = "model_failed"


class GpuUnavailable(ServiceError):
    """No variant that the request accepts has a place in the cluster, nor may a node be added that has one."""

    code = "gpu_unavailable"


class CircuitOpen(ServiceError):
    """Every replica, or the provider, has failed so often lately that it is left alone for a while."""

    code = "circuit_open"


class UpstreamRateLimited(ServiceError):
    """An outside provider takes no more of this service's requests just now; the caller's own limit is not used up."""

    code = "upstream_rate_limited"


class ProviderNotConfigured(ServiceError):
    """The gateway has no key for the outside provider that serves the model."""

    code = "provider_not_configured"


class StoreUnavailable(ServiceError):
    """A change could not be written to the durable store, so it was not made."""

    code = "store_unavailable"


class GatewayNotReady(ServiceError):
    """The gateway has not yet heard from the model manager what it needs for this."""

    code = "gateway_not_ready"


class DeadlineExceeded(ServiceError):
    """The request took longer than its deadline."""

    status = 504
    code = "deadline_exceeded"
