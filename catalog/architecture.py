"""What a Hugging Face `config.json` says about a model's size: its weights, and the KV cache of its tokens.

Every figure is a lower bound: what a configuration does not tell counts as nothing, so that a model is never called
larger than it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

BYTES_OF_DTYPE = {"float32": 4, "float16": 2, "bfloat16": 2}

# Keys of models that keep KV in their own ways: only some layers do, they are compressed, or differ from each other.
_OWN_KV_LAYOUT = (
    "attn_layer_period", "attn_type_list", "compress_ratios", "full_attention_interval", "global_head_dim",
    "hybrid_override_pattern", "layers_block_type", "linear_attn_config", "num_global_key_value_heads", "block_configs",
)  # fmt: skip
_GATED_ACTIVATIONS = ("silu", "swiglu", "gelu_pytorch_tanh")
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_target_positions")
# Of a quantized model whose configuration tells no width. Fewer bits than 4 are rare.
_FEWEST_BITS = 4


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of a transformer; 0 stands for what is not known.

    `latent_dim` is the width that multi-head latent attention (MLA) keeps of a token, 0 for other models. `windows`
    counts the layers by the tokens they keep: a number for a sliding window or chunk, None for all of them. Layers
    without a KV cache (linear attention, Mamba, those that share another's) are not in it.
    """

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    intermediate_size: int
    num_experts: int
    expert_size: int
    num_dense_layers: int
    latent_dim: int
    windows: Mapping[int | None, int] = field(hash=False)
    dtype: str
    weight_bits: int | None
    kv_bits: int | None
    is_tied: bool
    is_gated: bool
    is_causal: bool
    max_model_len: int

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Architecture:
        """Read a parsed `config.json`; a multimodal model's language model is taken. Nothing is required of it."""
        text = next((config[key] for key in ("text_config", "llm_config") if isinstance(config.get(key), dict)), config)
        num_layers = _count(text, "num_hidden_layers", "n_layer", "num_layers", limit=10_000)
        num_heads = _count(text, "num_attention_heads", "n_head")
        hidden_size = _count(text, "hidden_size", "n_embd", "d_model")
        names = config.get("architectures") or text.get("architectures") or [""]
        num_experts = _count(text, "num_experts", "n_routed_experts", "num_local_experts")
        latent = _count(text, "kv_lora_rank")
        return cls(
            name=str(names[0]) if isinstance(names, list) else "",
            num_layers=num_layers,
            hidden_size=hidden_size,
            num_heads=num_heads,
            num_kv_heads=_num_kv_heads(text) or num_heads,
            head_dim=_count(text, "head_dim") or (hidden_size // num_heads if num_heads else 0),
            vocab_size=_count(text, "vocab_size"),
            intermediate_size=_count(text, "intermediate_size", "n_inner"),
            num_experts=num_experts,
            expert_size=_count(text, "moe_intermediate_size", "intermediate_size") if num_experts else 0,
            num_dense_layers=min(num_layers, _count(text, "first_k_dense_replace")) if num_experts else num_layers,
            latent_dim=latent + _count(text, "qk_rope_head_dim") if latent else 0,
            windows=_windows(text, num_layers),
            dtype=_dtype(text) or _dtype(config) or "float16",
            weight_bits=_weight_bits(config.get("quantization_config") or text.get("quantization_config")),
            kv_bits=_kv_bits(config.get("quantization_config") or text.get("quantization_config")),
            is_tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
            is_gated=text.get("hidden_act", text.get("hidden_activation")) in _GATED_ACTIVATIONS,
            is_causal=text.get("is_causal", True) is not False,
            max_model_len=min((text[key] for key in _LENGTH_KEYS if _count(text, key)), default=0),
        )

    @property
    def num_weights(self) -> int:
        """Parameters that the fields account for: embeddings, attention, MLPs and experts.

        Norms, biases, routers, shared experts, an MLA's projections and towers for images or sound are not.
        """
        return self._num_embedding_weights + self._num_layer_weights

    @property
    def _num_embedding_weights(self) -> int:
        return self.vocab_size * self.hidden_size * (1 if self.is_tied else 2)

    @property
    def _num_layer_weights(self) -> int:
        heads = 0 if self.latent_dim else 2 * self.num_heads + 2 * self.num_kv_heads
        attention = self.hidden_size * heads * self.head_dim
        matrices = 3 if self.is_gated or self.num_experts else 2
        dense = matrices * self.hidden_size * self.intermediate_size * self.num_dense_layers
        sparse = matrices * self.hidden_size * self.expert_size * self.num_experts
        return self.num_layers * attention + dense + sparse * (self.num_layers - self.num_dense_layers)

    def weight_bytes(self, dtype_bytes: int) -> int:
        """Bytes of the weights in memory; where a quantization is configured, the layers have its width."""
        bits = self.weight_bits or 8 * dtype_bytes
        return self._num_embedding_weights * dtype_bytes + self._num_layer_weights * bits // 8

    def adapter_bytes(self, rank: int, tensor_parallel_size: int, dtype_bytes: int) -> int:
        """Bytes of one adapter's slot on each GPU: A and B of rank `rank` for a dense layer's seven projections.

        Of a layer with experts only attention counts. With tensor parallelism vLLM splits one of A and B and repeats
        the other; here both count as split.
        """
        if self.latent_dim:
            return 0
        attention = 4 * self.hidden_size + 2 * (self.num_heads + self.num_kv_heads) * self.head_dim
        mlp = 0 if self.num_experts else 3 * (self.hidden_size + self.intermediate_size)
        return self.num_layers * rank * (attention + mlp) * dtype_bytes // tensor_parallel_size

    def kv_bytes(self, num_tokens: int, tensor_parallel_size: int, element_bytes: float) -> int:
        """Bytes of KV cache that one sequence of `num_tokens` takes, over all layers, on each tensor-parallel rank.

        A token takes 2 x heads x head_dim elements in a layer (key and value). A rank holds its share of the KV heads,
        and at least one; an MLA's latent vector, which has no heads, is whole on each rank (as vLLM 0.32 does).
        """
        kv_heads = ceil(self.num_kv_heads / tensor_parallel_size)
        width = self.latent_dim or 2 * kv_heads * self.head_dim
        kept = sum(num * min(num_tokens, window or num_tokens) for window, num in self.windows.items())
        return int(kept * width * element_bytes)

    def splits(self, tensor_parallel_size: int) -> bool:
        """Whether the attention heads divide over the ranks; vLLM starts only when they do. True when not known."""
        return self.num_heads % tensor_parallel_size == 0

    @property
    def keeps_kv_when_pooling(self) -> bool:
        """Whether it is a decoder, whose embeddings are computed through a KV cache too; encoders have none."""
        return self.name.endswith("ForCausalLM") and self.is_causal


def _count(config: Mapping[str, Any], *names: str, limit: int = 2**40) -> int:
    """The first of the fields that is a number from 1 to `limit`, else 0."""
    values = (config.get(name) for name in names)
    return next((value for value in values if type(value) is int and 0 < value <= limit), 0)


def _num_kv_heads(config: Mapping[str, Any]) -> int:
    if config.get("multi_query") is True:
        return _count(config, "num_kv_heads") if config.get("new_decoder_architecture") else 1
    return _count(config, "num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num")


def _windows(config: Mapping[str, Any], num_layers: int) -> Counter[int | None]:
    if (any(key in config for key in _OWN_KV_LAYOUT) and "layer_types" not in config) or "compress_ratios" in config:
        return Counter()
    window = _count(config, "sliding_window") if config.get("use_sliding_window", True) else 0
    kinds = config.get("layer_types")
    if not isinstance(kinds, list):
        # Without a list some layers may be full; all of them sliding is the least there can be.
        kinds = ["sliding_attention" if window else "full_attention"] * num_layers
    own = num_layers - _count(config, "num_kv_shared_layers")
    sizes: dict[Any, int | None] = {
        "full_attention": None,
        "sliding_attention": window or None,
        "chunked_attention": _count(config, "attention_chunk_size") or None,
    }
    return Counter(sizes[kind] for kind in kinds[: max(0, own)] if isinstance(kind, str) and kind in sizes)


def _dtype(config: Mapping[str, Any]) -> str | None:
    name = config.get("dtype", config.get("torch_dtype"))
    return name if isinstance(name, str) and name in BYTES_OF_DTYPE else None


def _weight_bits(quantization: Any) -> int | None:
    """Width of a quantized layer's weights, from the forms that GPTQ, AWQ, FP8, MXFP4, bitsandbytes and others use."""
    if not isinstance(quantization, dict):
        return None
    bits = _count(quantization, "bits", "w_bit", limit=16)
    groups = quantization.get("config_groups")
    if not bits and isinstance(groups, dict):
        weights = [group.get("weights") for group in groups.values() if isinstance(group, dict)]
        bits = min((_count(each, "num_bits", limit=16) for each in weights if isinstance(each, dict)), default=0)
    method = f"{quantization.get('quant_method')} {quantization.get('quant_algo')}".lower()
    if not bits and ("fp8" in method or quantization.get("load_in_8bit")):
        bits = 8
    return bits or _FEWEST_BITS


def _kv_bits(quantization: Any) -> int | None:
    """8 where the checkpoint's own quantization may cover the KV cache, which vLLM then follows."""
    if not isinstance(quantization, dict):
        return None
    return 8 if quantization.get("kv_cache_scheme") or quantization.get("kv_cache_quant_algo") else None
