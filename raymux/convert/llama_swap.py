"""llama-swap: each model's command is read for what vLLM needs to know; see llama-swap's `config.example.yaml`."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from typing import Any

from raymux.convert.draft import Draft, Entry, Fields, base_name, engine_settings, gpu_shape, named

_MACRO = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
# llama.cpp's options that mean something to vLLM, by their further spellings.
_LLAMA_OPTIONS = {
    "-m": "model", "--model": "model", "-hf": "hub", "-hfr": "hub", "--hf-repo": "hub", "-c": "context",
    "--ctx-size": "context", "-np": "parallel", "--parallel": "parallel", "-ngl": "layers",
    "--n-gpu-layers": "layers", "--gpu-layers": "layers", "--port": "port", "--host": "host", "--alias": "alias",
    "-a": "alias",
}  # fmt: skip
_LLAMA_FLAGS = {"--embedding": "embed", "--embeddings": "embed", "--reranking": "rerank", "--rerank": "rerank"}
_LLAMA_MEANINGLESS = {"--jinja", "-fa", "--flash-attn", "--no-webui", "--no-warmup", "--mlock"}


def matches(document: Any) -> bool:
    models = document.get("models") if isinstance(document, dict) else None
    return isinstance(models, dict) and any(isinstance(each, dict) and "cmd" in each for each in models.values())


def convert(document: Any, gpu: str) -> Draft:
    """Every model on a GPU of type `gpu`, since llama-swap names none; groups that swap take turns by sleeping."""
    draft = Draft()
    fields = Fields(document, draft, "")
    macros = dict(fields.take("macros", {}))
    ttl_s, start_s = fields.take("globalTTL", 0), fields.take("healthCheckTimeout")
    names = {id_: named(str(id_), draft) for id_ in document["models"]}
    for id_, entry in fields.take("models").items():
        draft.models.append(_model(names[id_], str(id_), entry, macros, ttl_s, start_s, gpu, draft))
    _take_turns(fields.take("groups", {}), names, draft)
    hooks = fields.inner("hooks")
    startup = hooks.inner("on_startup")
    for id_ in startup.take("preload", []):
        if id_ in names:
            draft.keep_warm(names[id_])
    startup.close()
    hooks.close()
    _peers(fields.take("peers", {}), draft)
    if fields.take("apiKeys"):
        draft.note("", "apiKeys are not copied: set RAYMUX_API_KEYS, or have keys made by `raymux keys create`.")
    for name in ("logLevel", "startPort", "logToStdout", "logTimeFormat", "metricsMaxInMemory", "includeAliasesInList"):
        fields.take(name)
    draft.note("", f"llama-swap names no type of GPU; {gpu} stands everywhere (`raymux import --gpu TYPE`).")
    fields.close()
    return draft


def _model(name: str, id_: str, entry: Any, macros: Entry, ttl_s: Any, start_s: Any, gpu: str, draft: Draft) -> Entry:
    fields = Fields(entry, draft, name)
    known = {**macros, **fields.take("macros", {}), "MODEL_ID": id_, "PORT": "0"}
    words = _words(str(fields.take("cmd", "")), known)
    count = _count(_expanded(fields.take("env", []), known))
    model: Entry = {"name": name, "source": "", "tasks": ["generate"]}
    aliases = [base_name(str(alias)) for alias in fields.take("aliases", [])]
    if aliases := [alias for alias in dict.fromkeys(aliases) if alias != name]:
        model["aliases"] = aliases
    read = _from_vllm if _vllm_arguments(words) is not None else _from_llama_server
    read(words, model, count, gpu, draft)
    lifecycle: Entry = {}
    own_ttl = fields.take("ttl", -1)
    seconds = int(ttl_s if own_ttl in (-1, None) else own_ttl)
    lifecycle["idle_timeout_s"] = min(86_400, seconds) if seconds > 0 else 86_400
    if seconds <= 0:
        draft.note(name, "it was never unloaded; here it leaves after a day without a request.")
    if start_s is not None:
        lifecycle["cold_start_timeout_s"] = min(7_200, max(15, int(start_s)))
    model["lifecycle"] = lifecycle
    if (limit := fields.take("concurrencyLimit")) is not None and int(limit) > 0:
        model["queue"] = {"max_ongoing_per_replica": int(limit)}
    # How llama-swap runs a process, and shows a model to people, means nothing here.
    for unneeded in ("proxy", "cmdStop", "checkEndpoint", "name", "description", "useModelName", "unlisted"):
        fields.take(unneeded)
    fields.close()
    return model


def _words(command: str, macros: Entry) -> list[str]:
    lines = (line for line in command.splitlines() if not line.strip().startswith("#"))
    text = " ".join(line.strip().removesuffix("\\") for line in lines)
    for _ in range(10):
        text = _MACRO.sub(lambda match: str(macros.get(match[1], match[0])), text)
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _expanded(values: Any, macros: Entry) -> list[str]:
    return [_MACRO.sub(lambda match: str(macros.get(match[1], match[0])), str(value)) for value in values]


def _count(environment: list[str]) -> int:
    """GPUs that the environment of a process shows to it."""
    for value in environment:
        name, _, devices = value.partition("=")
        if name == "CUDA_VISIBLE_DEVICES" and devices:
            return len(devices.split(","))
    return 1


def _vllm_arguments(words: list[str]) -> list[str] | None:
    """What comes after `vllm serve`, vLLM's module or its image; None for another command."""
    for index, word in enumerate(words):
        if word.endswith("vllm") and words[index + 1 : index + 2] == ["serve"]:
            return words[index + 2 :]
        if word.startswith("vllm.entrypoints.") or (word.startswith("vllm/vllm-openai")):
            return words[index + 1 :]
    return None


def _options(words: list[str]) -> tuple[list[str], Entry]:
    """Words that are no options, and the options with their values, flags as true."""
    plain: list[str] = []
    options: Entry = {}
    index = 0
    while index < len(words):
        word, index = words[index], index + 1
        if not re.match(r"--?[A-Za-z]", word):
            plain.append(word)
            continue
        name, separator, value = word.partition("=")
        if not separator and index < len(words) and not re.match(r"--?[A-Za-z]", words[index]):
            value, index, separator = words[index], index + 1, "="
        options[name] = _typed(value) if separator else True
    return plain, options


def _typed(text: str) -> Any:
    """A number as such, everything else as the text that it is."""
    for type_ in (int, float):
        try:
            return type_(text)
        except ValueError:
            continue
    return text


def _number(value: Any) -> Any:
    """vLLM also reads 32k as 32,000 and 32K as 32,768."""
    match = re.fullmatch(r"([0-9.]+)([kKmM])", str(value))
    factors = {"k": 1_000, "K": 1_024, "m": 1_000_000, "M": 1_048_576}
    return int(float(match[1]) * factors[match[2]]) if match else value


def _from_vllm(words: list[str], model: Entry, count: int, gpu: str, draft: Draft) -> None:
    plain, options = _options(_vllm_arguments(words) or [])
    short = {"-tp": "tensor_parallel_size", "-pp": "pipeline_parallel_size"}
    kwargs = {short.get(name, name.lstrip("-").replace("-", "_")): value for name, value in options.items()}
    for name in [each for each in kwargs if each.startswith("no_") and kwargs[each] is True]:
        kwargs[name.removeprefix("no_")] = not kwargs.pop(name)
    for unneeded in ("host", "port", "served_model_name", "api_key"):
        kwargs.pop(unneeded, None)
    for name in ("max_model_len", "max_num_seqs", "max_num_batched_tokens"):
        kwargs |= {name: _number(kwargs[name])} if name in kwargs else {}
    source = kwargs.pop("model", None) or (plain[0] if plain else None)
    if source is None:
        draft.note(model["name"], "no model was found in its command; name it as source.")
    model["source"] = str(source or f"unknown/{base_name(model['name'].replace('/', '-'))}")
    tensor, pipeline = int(kwargs.pop("tensor_parallel_size", count)), int(kwargs.pop("pipeline_parallel_size", 1))
    variant: Entry = {"shape": gpu_shape(gpu, tensor * pipeline)}
    if pipeline > 1:
        variant["gpus_per_node"] = tensor
    model["variants"] = [variant]
    if kwargs.pop("task", kwargs.pop("runner", None)) in ("embed", "embedding", "pooling"):
        model["tasks"] = ["embed", "score"]
    engine = engine_settings(Fields(kwargs, draft, model["name"]), draft, model["name"])
    if engine:
        model["engine"] = engine


def _from_llama_server(words: list[str], model: Entry, count: int, gpu: str, draft: Draft) -> None:
    name = model["name"]
    _, options = _options(words[1:])
    found = {_LLAMA_OPTIONS[option]: value for option, value in options.items() if option in _LLAMA_OPTIONS}
    flags = {_LLAMA_FLAGS[option] for option in options if option in _LLAMA_FLAGS}
    file = PurePosixPath(str(found.get("model", "")))
    source = str(found["hub"]).partition(":")[0] if "hub" in found else str(file.parent) if file.name else None
    draft.note(
        name,
        f"llama.cpp read {file.name or source or 'weights that its command does not name'}; vLLM wants the original"
        " weights: put their hub id or folder as source.",
    )
    model["source"] = source or f"unknown/{base_name(name.replace('/', '-'))}"
    if flags:
        model["tasks"] = ["embed", "score"] if "embed" in flags else ["score"]
    on_cpu = found.get("layers") == 0
    model["variants"] = [{"shape": "CPU" if on_cpu else gpu_shape(gpu, count)}]
    engine: Entry = {}
    if isinstance(found.get("context"), int) and found["context"] >= 16:
        engine["max_model_len"] = found["context"]
    if isinstance(found.get("parallel"), int) and found["parallel"] > 0:
        engine["max_num_seqs"] = found["parallel"]
    if engine:
        model["engine"] = engine
    left = [each for each in options if each not in {*_LLAMA_OPTIONS, *_LLAMA_FLAGS, *_LLAMA_MEANINGLESS}]
    if left:
        draft.note(name, f"llama.cpp's options {', '.join(left)} are not carried over.")


def _take_turns(groups: Any, names: dict[str, str], draft: Draft) -> None:
    """Models of a group that swaps share GPUs: one is awake at a time. Those of no group are one group themselves."""
    grouped = {member for group in groups.values() for member in group.get("members", ())}
    everything = {**groups, "llama-swap": {"members": [id_ for id_ in names if id_ not in grouped]}}
    models = {model["name"]: model for model in draft.models}
    for label, group in everything.items():
        fields = Fields(group, draft, "", f"groups.{label}.")
        members = [models[names[id_]] for id_ in fields.take("members", []) if id_ in names]
        swaps = fields.take("swap", True)
        fields.take("exclusive")
        fields.close()
        shapes = {model["variants"][0]["shape"] for model in members}
        if not swaps or len(members) < 2 or "CPU" in shapes:
            continue
        if len(shapes) > 1:
            draft.note("", f"the models of group {label} took turns; in raymux only those of one shape can.")
            continue
        sleep_group = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:63] or "group"
        for model in members:
            model["variants"][0]["sleep_group"] = sleep_group
        draft.note("", f"the models of group {label} take turns on their GPUs; those that sleep are in host memory.")


def _peers(peers: Any, draft: Draft) -> None:
    """Other servers become providers; raymux sends each a key from the environment."""
    for label, peer in peers.items():
        fields = Fields(peer, draft, "", f"peers.{label}.")
        url, models = str(fields.take("proxy", "")), fields.take("models", [])
        name = base_name(str(label).replace("/", "-"))
        variable = re.sub(r"[^A-Z0-9]+", "_", f"{name}_API_KEY".upper()).lstrip("_0123456789")[:64]
        fields.take("apiKey")
        fields.close()
        draft.note("", f"the key of {label} is not copied: set {variable}, to anything if it takes none.")
        entries: list[Entry] = []
        for each in map(str, models):
            own = base_name(each.replace("/", "-"))
            entries.append({"name": own, **({} if own == each else {"upstream": each})})
        provider: Entry = {"name": name, "base_url": f"{url.rstrip('/')}/v1", "api_key_env": variable}
        if url.startswith("http:"):
            provider["allow_plain_http"] = True
        if entries:
            draft.providers.append({**provider, "models": entries})
