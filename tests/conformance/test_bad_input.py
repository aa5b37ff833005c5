"""What bad input gets: a 4xx in the one error shape, at once, with no harm to the engines and no echo of the input."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from tests.conformance.openai_schema import ERROR, validate
from tests.engine_server import CHAT, EMBEDDER, OTHER_BASE, PICKLED, TOO_HIGH_RANK, TRUNCATED
from tests.server import DEFAULT_CONFIG, PROJECT, RunningServer, model_entry, user_config

# The aim is 100 ms; a machine under test is slower.
MAX_S = 1.0
# In every bad input, and in no answer to it.
CANARY = "Canary7391"
HELLO = [{"role": "user", "content": CANARY}]
MEGABYTE = b"a" * (1 << 20)
JSON = {"content-type": "application/json"}

_API_PATH = re.compile(r"(GET|POST) /[\w/{}:.-]*|/v1/[\w/]*")
_FILE_PATH = re.compile(r"(?<![\w.])/\w[\w.-]*/\w|Traceback|File \"|\.py\b|<path>")


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


@pytest.fixture(scope="module", autouse=True)
def unharmed(engine_server: RunningServer) -> Iterator[None]:
    """No engine restarts, whatever is sent."""
    before = {model: engine_server.replica_processes(model) for model in (CHAT, EMBEDDER)}
    yield
    assert {model: engine_server.replica_processes(model) for model in (CHAT, EMBEDDER)} == before


@pytest.fixture(scope="module")
def durations_ms() -> Iterator[list[float]]:
    """Collects how long answers took, and prints what is typical."""
    found: list[float] = []
    yield found
    if len(found) > 10:
        ordered = sorted(found)
        median, p95 = statistics.median(ordered), ordered[int(len(ordered) * 0.95)]
        print(f"\nbad input: {len(found)} answers, median {median:.1f} ms, p95 {p95:.1f} ms, max {ordered[-1]:.1f} ms")


def check_refusal(reply: httpx.Response, status: int, code: str) -> str:
    """The message of a refusal that is as it must be."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    validate(ERROR, reply.json())
    error = reply.json()["error"]
    assert error["code"] == code
    assert error["type"] == "invalid_request_error"
    assert error["request_id"] == reply.headers["x-request-id"]
    for echo in (CANARY, CANARY.lower(), "7391"):
        assert echo not in reply.text.replace(error["request_id"], ""), "the input is echoed"
    assert not _FILE_PATH.search(_API_PATH.sub("", error["message"])), error["message"]
    assert len(error["message"]) <= 600
    return error["message"]


def check_serves(http: httpx.Client) -> None:
    reply = http.post("/v1/completions", json={"prompt": "Hello", "max_tokens": 1})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("bad", [*NAMES, *FIELDS, *BODIES, *PATHS], ids=lambda bad: bad.name)
def test_bad_input_is_refused_at_once(http: httpx.Client, durations_ms: list[float], bad: Bad):
    content = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    url = httpx.URL(str(http.base_url)).copy_with(raw_path=bad.path.encode())
    begun_s = time.perf_counter()
    reply = http.request(bad.method, url, content=None if bad.body is None else content, headers=bad.headers)
    took_s = time.perf_counter() - begun_s
    durations_ms.append(took_s * 1000)
    check_refusal(reply, bad.status, bad.code)
    assert took_s < MAX_S
    check_serves(http)


@pytest.mark.parametrize("has_length", [True, False], ids=["with its length", "chunked"])
def test_body_of_64_megabytes_is_refused(engine_server: RunningServer, http: httpx.Client, has_length: bool):
    headers = {**JSON, "content-length": str(64 * len(MEGABYTE))} if has_length else JSON
    with engine_server.client() as client:
        begun_s = time.perf_counter()
        reply = client.post("/v1/chat/completions", content=(MEGABYTE for _ in range(64)), headers=headers)
        took_s = time.perf_counter() - begun_s
    check_refusal(reply, 413, "payload_too_large")
    assert took_s < MAX_S
    check_serves(http)


def test_stream_is_refused_with_a_status_and_not_in_the_stream(http: httpx.Client):
    for model, status in (("Demo-Chat", 404), (OTHER_BASE, 400)):
        reply = http.post("/v1/chat/completions", json={"model": model, "messages": HELLO, "stream": True})
        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/json"


def test_method_that_does_not_exist_is_refused_at_the_front_door(http: httpx.Client):
    """Before the request has an id."""
    reply = http.request("BREW", "/v1/models")
    assert reply.status_code == 405
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert (error["code"], error["type"]) == ("method_not_allowed", "invalid_request_error")


def test_preferences_that_differ_are_refused(http: httpx.Client):
    body = {"messages": HELLO, "gpu_preference": "CPU"}
    reply = http.post("/v1/chat/completions", json=body, headers={"X-GPU-Preference": "H100"})
    check_refusal(reply, 400, "invalid_gpu_preference")


@pytest.mark.parametrize("request_id", ["a b", "x" * 200, "é", "<script>"])
def test_odd_request_id_is_replaced(http: httpx.Client, request_id: str):
    reply = http.get("/v1/models/Demo-Chat", headers={"X-Request-Id": request_id.encode("latin-1")})
    assert reply.headers["x-request-id"] == reply.json()["error"]["request_id"]
    assert reply.headers["x-request-id"] != request_id


# Configuration


def run_with(document: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `make serve` says to a configuration that it must refuse."""
    config = folder / "config.yaml"
    config.write_text(document if isinstance(document, str) else yaml.safe_dump(document), encoding="utf-8")
    command = [sys.executable, "-m", "deployments.serve", str(config), "--log", str(folder / "serve.log")]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


def check_refused_config(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for each in said:
        assert each in line


@pytest.fixture
def document() -> dict[str, Any]:
    """The embedded default, parsed."""
    return yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))


def test_broken_yaml_gets_one_line(tmp_path: Path):
    check_refused_config(run_with("applications:\n  - name: [raymux\n", tmp_path), "config.yaml:3:1", "not valid YAML")


def test_model_path_that_does_not_exist_gets_one_line(document: dict[str, Any], tmp_path: Path):
    model_entry(document, CHAT)["source"] = "models/nothing-here"
    check_refused_config(run_with(document, tmp_path), CHAT, "models/nothing-here")


def test_adapter_path_that_does_not_exist_gets_one_line(document: dict[str, Any], tmp_path: Path):
    user_config(document, "ModelManager")["adapters"][0]["source"] = "models/adapters/nothing-here"
    check_refused_config(run_with(document, tmp_path), "job_pirate", "models/adapters/nothing-here")


def test_unknown_setting_gets_one_line_with_its_path(document: dict[str, Any], tmp_path: Path):
    model_entry(document, CHAT)["engine"]["max_len"] = 5
    check_refused_config(run_with(document, tmp_path), "models.0.engine.max_len", "max_model_len")
