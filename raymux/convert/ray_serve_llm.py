"""Ray Serve LLM: each `LLMConfig` becomes a model; see `ray.serve.llm` in Ray's documentation for its fields."""

from __future__ import annotations

from typing import Any

from raymux.convert.draft import (
    GPU_TYPES,
    Draft,
    Entry,
    Fields,
    adapter_pool,
    engine_settings,
    gpu_shape,
    named,
    tasks_of,
)


def matches(document: Any) -> bool:
    """Whether it is a Serve configuration, a list or a single one of LLMConfigs."""
    return bool(_configs(document, Draft()))


def convert(document: Any, gpu: str) -> Draft:
    """Every LLMConfig as a model; `gpu` is the type for those that name none."""
    draft = Draft()
    for config in _configs(document, draft):
        if isinstance(config, str):
            draft.note("", f"a model is described in {config}: convert that file as well.")
        else:
            _convert(config, draft, gpu)
    return draft


def _configs(document: Any, draft: Draft) -> list[Any]:
    """LLMConfigs, and names of files with further ones, wherever they may stand."""
    if _is_config(document):
        return [document]
    if isinstance(document, list):
        return (
            [each for each in document if isinstance(each, str) or _is_config(each)]
            if any(map(_is_config, document))
            else []
        )
    if not isinstance(document, dict):
        return []
    fields = Fields(document, draft, "")
    if "applications" not in document:
        configs = fields.take("llm_configs", [])
    else:
        configs = [
            config
            for application in fields.take("applications", [])
            if isinstance(application, dict)
            for config in _configs_of(application, draft)
        ]
    fields.close()
    return [each for each in configs if isinstance(each, str) or _is_config(each)] if isinstance(configs, list) else []


def _configs_of(application: Entry, draft: Draft) -> list[Any]:
    """Those of a Serve application that was built by `ray.serve.llm`."""
    label = f"applications.{application.get('name', 'default')}"
    fields = Fields(application, draft, "", f"{label}.")
    args = fields.inner("args")
    configs = args.take("llm_configs")
    if not isinstance(configs, list):
        draft.note("", f"{label} is left out: it is not one of Ray Serve LLM.")
        return []
    for unneeded in ("name", "route_prefix", "import_path"):
        fields.take(unneeded)
    args.close()
    fields.close()
    return configs


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and "model_loading_config" in value


def _convert(config: Entry, draft: Draft, gpu: str) -> None:
    loading = config.get("model_loading_config")
    name = named(str((loading or {}).get("model_id") or "model"), draft)
    fields = Fields(config, draft, name)
    loading = fields.inner("model_loading_config")
    model_id, source = loading.take("model_id"), loading.take("model_source")
    tokenizer = loading.take("tokenizer_source")
    loading.close()
    own = {} if tokenizer is None else {"tokenizer": tokenizer}
    kwargs = Fields({**own, **fields.take("engine_kwargs", {})}, draft, name, "engine_kwargs.")
    if isinstance(source, dict):
        bucket = Fields(source, draft, name, "model_source.")
        source = bucket.take("bucket_uri", model_id)
        bucket.close()
        draft.note(name, "its weights are in a bucket; copy them to a folder of every node and name that as source.")
    tensor, pipeline = int(kwargs.take("tensor_parallel_size", 1)), int(kwargs.take("pipeline_parallel_size", 1))
    shape = gpu_shape(_gpu_type(fields, draft, name, gpu), tensor * pipeline)
    variant: Entry = {"shape": shape, **({"gpus_per_node": tensor} if pipeline > 1 else {})}
    lora, rank, loras = fields.inner("lora_config"), kwargs.take("max_lora_rank"), kwargs.take("max_loras")
    has_lora = bool(kwargs.take("enable_lora")) or "lora_config" in config
    number = lora.take("max_num_adapters_per_replica", loras)
    if (path := lora.take("dynamic_lora_loading_path")) is not None:
        draft.note(name, f"adapters were found below {path}; register each: `raymux models add peft:{name}:<job>`.")
    lora.close()
    tasks = tasks_of(kwargs.take("task") or kwargs.take("runner"))
    model: Entry = {"name": name, "source": str(source or model_id), "tasks": tasks}
    _scaling(fields.inner("deployment_config"), variant, model, draft)
    model["variants"] = [variant]
    engine = engine_settings(kwargs, draft, name)
    if engine:
        model["engine"] = engine
    if has_lora:
        model["adapters"] = adapter_pool(number, rank, draft, name)
    if fields.take("llm_engine", "vLLM").lower() != "vllm":
        draft.note(name, "it ran on another engine than vLLM.")
    fields.close()
    draft.models.append(model)


def _gpu_type(fields: Fields, draft: Draft, name: str, gpu: str) -> str:
    wanted = fields.take("accelerator_type")
    config = fields.take("accelerator_config")
    if isinstance(config, dict) and config.get("kind") == "cpu":
        return "CPU"
    if wanted is None:
        draft.note(name, f"it names no type of GPU; {gpu} stands in its place.")
        return gpu
    type_ = str(wanted).removesuffix("-40G").removesuffix("-80G")
    if type_ not in GPU_TYPES:
        draft.note(name, f"raymux has no shape for {wanted}; {gpu} stands in its place.")
        return gpu
    if type_ != wanted:
        draft.note(name, f"{wanted} is written {type_}; which of them a node has is not told apart.")
    return type_


def _scaling(deployment: Fields, variant: Entry, model: Entry, draft: Draft) -> None:
    """Replicas and requests: bounds are kept, the wish for some at all times becomes a warm-up."""
    name, auto = model["name"], deployment.inner("autoscaling_config")
    fixed = deployment.take("num_replicas")
    least = auto.take("min_replicas", 0 if fixed is None else 1)
    most = auto.take("max_replicas", fixed if isinstance(fixed, int) else None)
    if most is not None:
        variant["max_replicas"] = max(1, int(most))
    if least:
        draft.keep_warm(name)
        if int(least) > 1:
            draft.note(name, f"{least} replicas were kept at all times; raymux keeps one and adds more with the load.")
    if (target := auto.take("target_ongoing_requests")) is not None:
        variant["target_ongoing_requests"] = max(1, round(float(target)))
    if (ongoing := deployment.take("max_ongoing_requests")) is not None:
        model["queue"] = {"max_ongoing_per_replica": int(ongoing)}
    actor = deployment.inner("ray_actor_options")
    if (cpus := actor.take("num_cpus")) is not None:
        variant["num_cpus"] = float(cpus)
    for section in (auto, actor, deployment):
        section.close()
