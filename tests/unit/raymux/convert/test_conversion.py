from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.gpus import GPU_TYPES
from catalog.loading import ServeConfig, load
from catalog.models import RESERVED_ENGINE_ARGS, EngineSettings, ModelSettings
from catalog.names import parse_name
from raymux.convert import Format, draft
from raymux.convert.conversion import ConversionError, Converted, convert

SAMPLES = Path(__file__).parent / "samples"


def sample(format_: Format) -> str:
    return (SAMPLES / f"{format_.value.replace('-', '_')}.yaml").read_text()


def loaded(converted: Converted, folder: Path) -> ServeConfig:
    """The result as a server would read it; fails where it is not valid."""
    file = folder / "serve_config.yaml"
    file.write_text(converted.text)
    return load(file)


def models_of(config: ServeConfig) -> dict[str, ModelSettings]:
    return {model.name: model for model in config.catalog.models}


@pytest.mark.parametrize("format_", list(Format))
def test_every_sample_is_recognised_and_becomes_a_valid_configuration(format_: Format, tmp_path: Path) -> None:
    recognised, told = convert(sample(format_)), convert(sample(format_), format_)
    assert recognised == told
    assert loaded(recognised, tmp_path).catalog.models


@pytest.mark.parametrize("format_", list(Format))
def test_no_secret_is_copied(format_: Format) -> None:
    converted = convert(sample(format_))
    assert "secret" not in converted.text
    assert "secret" not in "".join(converted.warnings)


@pytest.mark.parametrize("format_", list(Format))
def test_every_warning_is_a_comment_of_the_result(format_: Format) -> None:
    converted = convert(sample(format_))
    comments = [line.strip() for line in converted.text.splitlines() if line.strip().startswith("#")]
    for warning in converted.warnings:
        text = warning.partition(": ")[2] or warning
        assert any(text in comment for comment in comments), warning


def mappings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every mapping in a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield path
    for key, child in children:
        yield from mappings(child, (*path, key))


# What stands inside of these is left out with them, or has names of its own.
LEFT_OUT_WHOLE = {
    Format.RAY_SERVE_LLM: (("applications", 0, "args", "llm_configs", 1, "runtime_env"),),
    Format.LITELLM: (
        ("model_list", 1), ("model_list", 6), ("model_list", 7), ("environment_variables",),
        ("litellm_settings", "fallbacks", 0),
    ),
    Format.LLAMA_SWAP: (("macros",), ("groups",), ("models", "llama32:1b", "filters")),
}  # fmt: skip


@pytest.mark.parametrize("format_", list(Format))
def test_nothing_is_dropped_without_a_word(format_: Format) -> None:
    document = yaml.safe_load(sample(format_))
    for path in mappings(document):
        if any(path[: len(whole)] == whole for whole in LEFT_OUT_WHOLE[format_]):
            continue
        changed = copy.deepcopy(document)
        place = changed
        for key in path:
            place = place[key]
        place["new_field"] = 7
        assert "new_field" in convert(yaml.safe_dump(changed), format_).text, path


def test_ray_serve_llm_keeps_shapes_scaling_and_engine(tmp_path: Path) -> None:
    converted = convert(sample(Format.RAY_SERVE_LLM))
    config = loaded(converted, tmp_path)
    models = models_of(config)
    small, big, embedder = models["qwen-0.5b"], models["llama-70b"], models["bge"]
    assert small.source == "Qwen/Qwen2.5-0.5B-Instruct"
    (variant,) = small.variants
    assert (variant.shape, variant.max_replicas, variant.target_ongoing_requests) == ("A10G", 2, 64)
    assert small.max_ongoing_per_replica == 128
    assert (small.engine.max_model_len, small.engine.args) == (8192, {"enable_prefix_caching": True})
    assert [schedule.model for schedule in config.catalog.warmups] == ["qwen-0.5b"]
    (variant,) = big.variants
    assert (variant.shape, variant.gpus_per_node) == ("A100:16", 8)
    assert big.adapters is not None
    assert (big.adapters.max_adapters_per_replica, big.adapters.max_rank) == (16, 32)
    assert (big.engine.dtype, big.engine.args["tokenizer"]) == ("float16", "meta-llama/Llama-3.3-70B-Instruct")
    assert [str(task) for task in embedder.tasks] == ["embed", "score"]
    said = "\n".join(converted.warnings)
    for lost in (
        "downscale_delay_s",
        "trust_remote_code",
        "runtime_env",
        "V100",
        "models/another.yaml",
        "adapters",
        "bucket",
    ):
        assert lost in said


@pytest.mark.parametrize(
    "wrap", [lambda config: config, lambda config: [config], lambda config: {"llm_configs": [config]}]
)
def test_an_llm_config_is_found_alone_or_in_a_list(wrap: Any, tmp_path: Path) -> None:
    config = {"model_loading_config": {"model_id": "a/b"}, "accelerator_type": "L4"}
    assert models_of(loaded(convert(yaml.safe_dump(wrap(config))), tmp_path))["a/b"].source == "a/b"


def test_litellm_keeps_names_providers_fallbacks_and_order(tmp_path: Path) -> None:
    converted = convert(sample(Format.LITELLM))
    providers = {each.name: each for each in loaded(converted, tmp_path).catalog.providers}
    gpt, embedding = providers["openai"].models
    assert (gpt.name, gpt.aliases, gpt.fallbacks) == ("gpt-4o", ("gpt-4o", "gpt-4"), ("anthropic/claude-sonnet-4-5",))
    assert [str(task) for task in embedding.tasks] == ["embed"]
    assert (providers["openai"].max_retries, providers["openai"].first_byte_timeout_s) == (3, 90)
    (claude,) = providers["anthropic"].models
    assert (claude.aliases, claude.max_output_tokens) == (("claude",), 8192)
    first, second = providers["gpu-box-8001"], providers["other-box.example.com"]
    assert (first.base_url, first.allow_plain_http) == ("http://gpu-box:8001/v1", True)
    assert second.api_key_env == "OTHER_KEY"
    assert first.models[0].upstream == "Qwen/Qwen3-4B"
    assert first.models[0].fallbacks == (second.full_name(second.models[0]),)
    said = "\n".join(converted.warnings)
    for lost in ("azure", "whisper", "*", "rpm", "temperature", "drop_params", "routing_strategy", "master_key",
                 "database_url", "environment_variables", "nobody"):  # fmt: skip
        assert lost in said


def test_llama_swap_keeps_commands_times_groups_and_peers(tmp_path: Path) -> None:
    converted = convert(sample(Format.LLAMA_SWAP), gpu="A10G")
    config = loaded(converted, tmp_path)
    models = models_of(config)
    llama, coder, vllm, embedder = (models[name] for name in ("llama32-1b", "qwen-coder", "qwen-vllm", "embedder"))
    assert (llama.aliases, llama.engine.max_model_len, llama.engine.max_num_seqs) == (("gpt-4o-mini",), 8192, 4)
    assert (llama.lifecycle.idle_timeout_s, llama.lifecycle.cold_start_timeout_s) == (300, 500)
    assert coder.source == "unsloth/Qwen3-4B-GGUF"
    assert coder.lifecycle.idle_timeout_s == 86_400
    assert llama.variants[0].sleep_group == coder.variants[0].sleep_group == "big"
    assert (vllm.source, vllm.variants[0].shape, vllm.variants[0].sleep_group) == ("Qwen/Qwen3-4B", "A10G:2", None)
    assert vllm.engine.max_model_len == 32_768
    assert vllm.engine.args == {
        "enable_auto_tool_choice": True, "tool_call_parser": "hermes", "enable_prefix_caching": False,
    }  # fmt: skip
    assert vllm.max_ongoing_per_replica == 64
    assert (embedder.variants[0].shape, [str(task) for task in embedder.tasks]) == ("CPU", ["embed", "score"])
    assert [schedule.model for schedule in config.catalog.warmups] == ["embedder"]
    (peer,) = config.catalog.providers
    assert (peer.base_url, peer.models[0].upstream) == ("https://openrouter.example.com/api/v1", "z-ai/glm-4.7")
    said = "\n".join(converted.warnings)
    for lost in ("'llama32:1b'", "--cache-type-k", "filters", "Q4_K_M.gguf", "apiKeys", "A10G"):
        assert lost in said


def test_models_of_no_group_take_turns_as_llama_swap_has_them(tmp_path: Path) -> None:
    text = yaml.safe_dump({"models": {name: {"cmd": f"vllm serve org/{name} -tp 2"} for name in ("a", "b")}})
    models = models_of(loaded(convert(text), tmp_path))
    assert {model.variants[0].sleep_group for model in models.values()} == {"llama-swap"}
    assert models["a"].variants[0].shape == "L4:2"


@pytest.mark.parametrize("text", ["", "a: [", "models: {}", "[1, 2]", "applications: []", "model_list: 3"])
def test_other_files_are_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ConversionError):
        convert(text)


@pytest.mark.parametrize(
    "text",
    [
        "model_list: [{model_name: a, litellm_params: {model: openai/a, max_tokens: many}}]",
        "models: {a: {cmd: vllm serve x, ttl: soon}}",
        "model_loading_config: {model_id: a}\nengine_kwargs: {tensor_parallel_size: two}",
    ],
)
def test_values_of_another_type_are_refused_and_not_a_traceback(text: str) -> None:
    with pytest.raises(ConversionError, match="another type"):
        convert(text)


@pytest.mark.parametrize("text", ["llama32:1b", "a/b/c", "..x..", "Qwen/Qwen3-4B", "-", "ä ö", "x" * 300])
def test_every_name_becomes_one_that_is_allowed(text: str) -> None:
    parse_name(draft.base_name(text))


def test_what_the_client_knows_of_the_server_is_still_true() -> None:
    own_fields = {*EngineSettings.model_fields} & RESERVED_ENGINE_ARGS
    assert RESERVED_ENGINE_ARGS - own_fields == draft.SET_BY_RAYMUX
    assert draft.GPU_TYPES == GPU_TYPES


def test_another_address_or_key_of_a_provider_is_another_provider(tmp_path: Path) -> None:
    entries = [
        ("a", "gpt-4o", {}),
        ("b", "openai/gpt-4o", {"api_key": "os.environ/SECOND"}),
        ("c", "claude-sonnet-4-5", {"api_key": "os.environ/third"}),
        ("d", "anthropic/claude-sonnet-4-5", {}),
        ("e", "ollama/llama3", {"api_base": "http://localhost:11434"}),
    ]
    listed = [{"model_name": name, "litellm_params": {"model": model, **more}} for name, model, more in entries]
    converted = convert(yaml.safe_dump({"model_list": listed}))
    found = {
        alias: (provider.name, str(provider.kind), provider.base_url, provider.api_key_env)
        for provider in loaded(converted, tmp_path).catalog.providers
        for model in provider.models
        for alias in model.aliases
    }
    openai, anthropic = "https://api.openai.com/v1", "https://api.anthropic.com/v1"
    assert found == {
        "a": ("openai", "openai", openai, "OPENAI_API_KEY"),
        "b": ("openai-1", "openai", openai, "SECOND"),
        "c": ("anthropic", "anthropic", anthropic, "THIRD"),
        "d": ("anthropic-1", "anthropic", anthropic, "ANTHROPIC_API_KEY"),
        "e": ("localhost-11434", "openai", "http://localhost:11434/v1", "LOCALHOST_11434_API_KEY"),
    }
    assert any("its key was in third" in warning for warning in converted.warnings)
