"""Bad requests of every kind, and what each must get."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.engine_server import CHAT, EMBEDDER, OTHER_BASE, PICKLED, TOO_HIGH_RANK, TRUNCATED

# In every bad request, and in no answer to it.
CANARY = "Canary7391"
HELLO = [{"role": "user", "content": CANARY}]
JSON = {"content-type": "application/json"}


class Bad(NamedTuple):
    """A bad request, and what it must get."""

    name: str
    code: str
    path: str = "/v1/chat/completions"
    body: Any = None
    headers: dict[str, str] = JSON
    status: int = 400
    method: str = "POST"


def chat(name: str, code: str = "invalid_request", status: int = 400, **fields: Any) -> Bad:
    return Bad(name, code, body={"messages": HELLO, "max_tokens": 5, **fields}, status=status)


def raw(name: str, body: bytes, code: str = "invalid_request", **more: Any) -> Bad:
    return Bad(name, code, body=body, **more)


def field(text: bytes) -> bytes:
    """A chat request with one more field as JSON text."""
    return b'{"messages": [{"role": "user", "content": "Canary7391"}], ' + text + b"}"


def nested(depth: int) -> bytes:
    return field(b'"metadata": ' + b"[" * depth + b"]" * depth)


def missing(name: str, model: str) -> Bad:
    return chat(name, "model_not_found", 404, model=model)


def rejected(name: str, model: str) -> Bad:
    return chat(name, "adapter_rejected", model=model)


NAMES = [
    missing("unknown model", CANARY),
    missing("model in other case", "Demo-Chat"),
    missing("beginning of a model", "demo"),
    missing("model with a space", "demo-chat "),
    missing("folder of a model", "models/demo-chat"),
    missing("file as model", "/etc/passwd"),
    missing("very long model", CANARY * 10_000),
    missing("unknown adapter", f"peft:demo-chat:{CANARY}"),
    missing("adapter by a path", "peft:demo-chat:../../adapters/job_pirate"),
    missing("adapter of an unknown base", "peft:other-chat:job_pirate"),
    missing("unknown checkpoint", f"rl:demo-chat:job_demo:{CANARY}"),
    missing("checkpoint by a path", "rl:demo-chat:../job_demo"),
    missing("adapter without a job", "peft:demo-chat:"),
    chat("model for another task", model=EMBEDDER),
    rejected("adapter of another base", OTHER_BASE),
    rejected("adapter of too high a rank", TOO_HIGH_RANK),
    rejected("pickled adapter", PICKLED),
    rejected("truncated adapter", TRUNCATED),
]
FIELDS = [
    chat("model as number", model=5),
    chat("empty model", model=""),
    chat("model as list", model=[CHAT]),
    chat("messages as text", messages=CANARY),
    chat("messages as object", messages={"role": CANARY}),
    chat("no messages", messages=[]),
    chat("messages null", messages=None),
    chat("message without role", messages=[{"content": CANARY}]),
    chat("role as number", messages=[{"role": 5, "content": CANARY}]),
    chat("content as number", messages=[{"role": "user", "content": 5}]),
    chat("content part of an unknown type", messages=[{"role": "user", "content": [{"type": CANARY}]}]),
    chat("unpaired surrogate", messages=[{"role": "user", "content": "\ud83d Canary7391"}]),
    chat("temperature as text", temperature=CANARY),
    chat("negative temperature", temperature=-73911),
    chat("huge temperature", temperature=73911e5),
    chat("top_p too large", top_p=73911),
    chat("max_tokens as text", max_tokens=CANARY),
    chat("max_tokens as fraction", max_tokens=1.5),
    chat("max_tokens as boolean", max_tokens=True),
    chat("negative max_tokens", max_tokens=-73911),
    chat("huge max_tokens", "context_length_exceeded", max_tokens=2**31 - 1),
    chat("absurd max_tokens", max_tokens=10**30),
    chat("n as text", n=CANARY),
    chat("zero n", n=0),
    chat("negative n", n=-73911),
    chat("huge n", n=10**6),
    chat("absurd n", n=10**30),
    chat("stream as text", stream=CANARY),
    chat("stream as number", stream=1),
    chat("stop as number", stop=5),
    chat("seed as text", seed=CANARY),
    chat("logit_bias by words", logit_bias={CANARY: 1}),
    chat("logit_bias outside the vocabulary", logit_bias={"73911": 1}),
    chat("top_logprobs too large", logprobs=True, top_logprobs=7391),
    chat("unknown response format", response_format={"type": CANARY}),
    chat(
        "schema that refers to itself",
        response_format={"type": "json_schema", "json_schema": {"name": CANARY, "schema": {"$ref": "#"}}},
    ),
    chat("ten thousand choices", structured_outputs={"choice": [f"{CANARY}{number}" for number in range(10_000)]}),
    chat("broken regular expression", structured_outputs={"regex": f"({CANARY}"}),
    chat("broken grammar", structured_outputs={"grammar": f"{CANARY} ::="}),
    chat("tools as text", tools=CANARY),
    chat("unknown tool choice", tool_choice={"type": "function", "function": {"name": CANARY}}),
    chat("unknown GPU", "invalid_gpu_preference", gpu_preference=CANARY),
    chat("GPU the model does not run on", "gpu_not_supported_for_model", gpu_preference="H100"),
    Bad("too long a prompt", "context_length_exceeded", "/v1/completions", {"prompt": f"{CANARY} " * 3000}),
    Bad("no prompt", "invalid_request", "/v1/completions", {}),
    Bad("prompt as number", "invalid_request", "/v1/completions", {"prompt": 5}),
    Bad("token outside the vocabulary", "invalid_request", "/v1/completions", {"prompt": [739_117_391]}),
    Bad("negative token", "invalid_request", "/v1/completions", {"prompt": [-1]}),
    Bad("input as number", "invalid_request", "/v1/responses", {"input": 5}),
    Bad("no input", "invalid_request", "/v1/embeddings", {}),
    Bad("embedding of nothing", "invalid_request", "/v1/embeddings", {"input": []}),
    Bad("embedding of an object", "invalid_request", "/v1/embeddings", {"input": {CANARY: 1}}),
    Bad("too long an input", "context_length_exceeded", "/v1/embeddings", {"input": f"{CANARY} " * 3000}),
    Bad("unknown encoding", "invalid_request", "/v1/embeddings", {"input": "a", "encoding_format": CANARY}),
    Bad("impossible dimensions", "invalid_request", "/v1/embeddings", {"input": "a", "dimensions": 73_911}),
    Bad("rerank without documents", "invalid_request", "/v1/rerank", {"query": CANARY}),
    Bad("rerank of no documents", "invalid_request", "/v1/rerank", {"query": CANARY, "documents": []}),
    Bad("negative top_n", "invalid_request", "/v1/rerank", {"query": "a", "documents": ["b"], "top_n": -1}),
    Bad("score of one text", "invalid_request", "/v1/score", {"text_1": CANARY}),
    Bad("tokenize a number", "invalid_request", "/tokenize", {"prompt": 5}),
    Bad("detokenize text", "invalid_request", "/detokenize", {"tokens": CANARY}),
    Bad("detokenize negative", "invalid_request", "/detokenize", {"tokens": [-1]}),
    Bad("message of no role", "invalid_request", "/v1/messages", {"model": CHAT, "max_tokens": 5, "messages": [{}]}),
    Bad("negative tokens", "invalid_request", "/v1/messages", {"model": CHAT, "max_tokens": -1, "messages": HELLO}),
]
BODIES = [
    raw("NaN", field(b'"temperature": NaN')),
    raw("Infinity", field(b'"temperature": Infinity')),
    raw("negative Infinity", field(b'"temperature": -Infinity')),
    raw("number beyond a double", field(b'"temperature": 1e999')),
    raw("number of five thousand digits", field(b'"seed": ' + b"9" * 5000)),
    raw("duplicate key", field(b'"model": "demo-chat", "model": "demo-chat"')),
    raw("duplicate inner key", field(b'"metadata": {"Canary7391": 1, "Canary7391": 2}')),
    raw("invalid UTF-8", field(b'"user": "\xff\xfe"')),
    raw("UTF-16", '{"messages": []}'.encode("utf-16")),
    raw("deep nesting", nested(200)),
    raw("very deep nesting", nested(100_000)),
    raw("array", b'["Canary7391"]'),
    raw("null", b"null"),
    raw("number", b"7391"),
    raw("text", b'"Canary7391"'),
    raw("true", b"true"),
    raw("nothing", b""),
    raw("white space", b" \n "),
    raw("cut", b'{"messages": [{"role": "user", "content": "Canary7391'),
    raw("trailing bytes", field(b'"n": 1') + b" Canary7391"),
    raw("two objects", field(b'"n": 1') * 2),
    raw("comment", b'{"messages": [] /* Canary7391 */}'),
    raw("NUL", b"\0"),
    raw("empty object", b"{}"),
    raw("plain text", b"Canary7391", "unsupported_media_type", headers={"content-type": "text/plain"}, status=415),
    raw(
        "form",
        b"messages=Canary7391",
        "unsupported_media_type",
        headers={"content-type": "application/x-www-form-urlencoded"},
        status=415,
    ),
    raw("unreadable content type", b"{}", "unsupported_media_type", headers={"content-type": CANARY}, status=415),
]
PATHS = [
    Bad("unknown path", "not_found", f"/v1/{CANARY}", status=404, method="GET"),
    Bad("unknown path posted to", "not_found", f"/{CANARY}", {}, status=404),
    Bad("path out of the tree", "not_found", "/v1/../../etc/passwd", status=404, method="GET"),
    Bad("trailing slash", "not_found", "/v1/chat/completions/", {}, status=404),
    Bad("vLLM's own path", "not_found", "/v1/load_lora_adapter", {"lora_name": CANARY}, status=404),
    Bad("unknown model by path", "model_not_found", f"/v1/models/{CANARY}", status=404, method="GET"),
    Bad("near miss by path", "model_not_found", "/v1/models/Demo-Chat", status=404, method="GET"),
    Bad("start of an unknown model", "model_not_found", f"/v1/models/{CANARY}/start", status=404),
    Bad("GET of a POST path", "method_not_allowed", status=405, method="GET"),
    Bad("PUT", "method_not_allowed", body={}, status=405, method="PUT"),
    Bad("DELETE of a model of the configuration", "invalid_request", f"/v1/models/{CHAT}", method="DELETE"),
    Bad("POST to a GET path", "method_not_allowed", "/v1/status", {}, status=405),
    Bad("TRACE", "method_not_allowed", "/v1/models", status=405, method="TRACE"),
]
BOUNDARY = "Boundary"
JOBS = "/v1/fine_tuning/jobs"


def upload(name: str, content: bytes, code: str = "invalid_training_file", purpose: str = "fine-tune") -> Bad:
    """A file of examples in a form."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'.encode(),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{CANARY}"\r\n\r\n'.encode(),
        content,
        f"\r\n--{BOUNDARY}--\r\n".encode(),
    ]
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return Bad(name, code, "/v1/files", b"".join(parts), headers)


def job(name: str, code: str = "invalid_request", status: int = 400, **fields: Any) -> Bad:
    return Bad(name, code, JOBS, {"model": CHAT, "training_file": CANARY, **fields}, status=status)


TUNING = [
    upload("file that is empty", b""),
    upload("file of broken JSON", b'{"prompt": "Canary7391"'),
    upload("file that is not UTF-8", b"\xff\xfe"),
    upload("file with a line that is an array", b'["Canary7391"]'),
    upload("file with an unknown field", b'{"prompt": "a", "completion": "b", "Canary7391": 1}'),
    upload("file with roles out of order", b'{"messages": [{"role": "assistant", "content": "Canary7391"}]}'),
    upload("file with an unknown role", b'{"messages": [{"role": "Canary7391", "content": "a"}]}'),
    upload("file with an empty answer", b'{"prompt": "Canary7391", "completion": " "}'),
    upload(
        "file of two forms",
        b'{"prompt": "a", "completion": "b"}\n{"messages": [{"role": "user", "content": "a"},'
        b' {"role": "assistant", "content": "Canary7391"}]}',
    ),
    upload("file nested deeply", b'{"prompt": ' + b"[" * 100_000),
    upload("file for another purpose", b"{}", "invalid_request", purpose=CANARY),
    Bad("file as JSON", "unsupported_media_type", "/v1/files", {"file": CANARY}, status=415),
    Bad("unknown file", "file_not_found", f"/v1/files/{CANARY}", status=404, method="GET"),
    Bad("unknown file's bytes", "file_not_found", f"/v1/files/{CANARY}/content", status=404, method="GET"),
    Bad("DELETE of an unknown file", "file_not_found", f"/v1/files/{CANARY}", status=404, method="DELETE"),
    Bad("unknown job", "job_not_found", f"{JOBS}/{CANARY}", status=404, method="GET"),
    Bad("events of an unknown job", "job_not_found", f"{JOBS}/{CANARY}/events?stream=true", status=404, method="GET"),
    Bad("cancel of an unknown job", "job_not_found", f"{JOBS}/{CANARY}/cancel", status=404),
    job("job on an unknown file", "file_not_found", 404),
    job("job on an unknown model", "model_not_found", 404, model=CANARY),
    job("job on an embedder", model=EMBEDDER),
    job("job on an adapter", model=OTHER_BASE),
    job("job of no epochs", hyperparameters={"n_epochs": 0}),
    job("job of a rank that is not served", hyperparameters={"lora_rank": 512}),
    job("job with an unknown hyperparameter", hyperparameters={CANARY: 1}),
    job("job of an unknown method", method={"type": CANARY}),
    job("job with a path as suffix", suffix=f"../{CANARY}"),
    job("job on a GPU that it may not have", "gpu_not_supported_for_model", gpu_preference="H100"),
]

REQUESTS = [*NAMES, *FIELDS, *BODIES, *PATHS, *TUNING]
