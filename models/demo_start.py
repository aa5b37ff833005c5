"""Builds the untrained demo model, with one pair of attention heads wired to copy.

Small models find out how to copy only after tens of millions of tokens. This one starts with the circuit that they
find: a head in the first layer notes at each position which token came before, and a head in the second layer looks
for an earlier place that followed the present token and brings back what stood there. Training does the rest.
"""

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

MAX_POSITIONS = 4096
SPACE = "\u0120"  # how byte-level tokens write a space
EMBEDDING_SCALE = 0.5  # large beside what a layer adds, so that a token stays readable in the residual stream
OUTPUT_SCALE = 0.06  # keeps the logits of the tied output small at the start
SHARPNESS = 1.6  # gain of queries and keys: lets a head look at one place only
FAST = 12  # rotary frequencies by which the first head finds the position before


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """An untrained model that fits the tokenizer, ends its answers at the tokenizer's end mark, and can copy."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    # A model this small rambles when it is sampled hot, so a request without a temperature gets a low one.
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.2,
    )
    set_scales(model)
    relate_spaced_words(model, tokenizer)
    wire_copying(model)
    return model


@torch.no_grad()
def set_scales(model: Qwen3ForCausalLM) -> None:
    """Start with large embeddings, sharp attention, and layers that add nothing yet."""
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=EMBEDDING_SCALE)
    model.model.norm.weight.fill_(OUTPUT_SCALE)
    for layer in model.model.layers:
        layer.self_attn.q_norm.weight.fill_(SHARPNESS)
        layer.self_attn.k_norm.weight.fill_(SHARPNESS)
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()


@torch.no_grad()
def relate_spaced_words(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Start a word followed by a space near the same word alone, all in one direction."""
    weight = model.get_input_embeddings().weight
    direction = torch.randn(weight.shape[1]) * EMBEDDING_SCALE
    vocabulary = tokenizer.get_vocab()
    for token, index in sorted(vocabulary.items()):
        if len(token) > 1 and token.endswith(SPACE) and token[:-1] in vocabulary:
            weight[index] = 0.9 * weight[vocabulary[token[:-1]]] + 0.44 * direction


@torch.no_grad()
def wire_copying(model: Qwen3ForCausalLM) -> None:
    """Wire head 0 of the first layer to the previous position, and head 0 of the second layer to what followed."""
    width, head = model.config.hidden_size, model.config.head_dim
    half = head // 2
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    # Three separate subspaces: what is noted of the previous token, where it is noted, and what is copied.
    # Dimension 0 is the same for every token, and gives the first head something to look by.
    model.get_input_embeddings().weight[:, 0] = 2 * EMBEDDING_SCALE
    spaces = torch.linalg.qr(torch.randn(width, 3 * head))[0].T
    spaces[:, 0] = 0
    noted, note, copied = spaces.split(head)
    query, key = torch.zeros(head), torch.zeros(head)
    angles = model.model.rotary_emb.inv_freq[:FAST]
    query[:FAST], key[:FAST], key[half : half + FAST] = 1.0, angles.cos(), angles.sin()
    for projection, vector in ((first.q_proj, query), (first.k_proj, key)):
        projection.weight[:head] = 0
        projection.weight[:head, 0] = vector
    first.v_proj.weight[:head] = noted
    first.o_proj.weight[:, :head] = EMBEDDING_SCALE * note.T
    # The slow half of the rotary frequencies hardly depends on distance, so contents are compared there.
    slow = [*range(half // 2, half), *range(half + half // 2, head)]
    for projection, space in ((second.q_proj, noted), (second.k_proj, note)):
        projection.weight[:head] = 0
        projection.weight[slow] = space[:half]
    second.v_proj.weight[:head] = copied
    second.o_proj.weight[:, :head] = 3 * EMBEDDING_SCALE * copied.T
