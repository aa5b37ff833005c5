"""A few answers of a model, to be read beside those of the model before its training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.fine_tuning.examples import messages_of

if TYPE_CHECKING:
    import torch

NUM_SAMPLES = 3
MAX_NEW_TOKENS = 64
MAX_PROMPT_CHARS = 2_000


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: messages and tools for its chat template, or a text. `prompt` is what of it is told."""

    prompt: str
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None


def first_prompts(lines: Iterable[dict[str, Any]]) -> list[Prompt]:
    """The prompts of a file's first examples, in any of its forms, without what answers them."""
    prompts = []
    for line in lines:
        if "prompt" in line:
            prompts.append(Prompt(line["prompt"][:MAX_PROMPT_CHARS]))
        else:
            asked = {**line, "messages": line["messages"][:-1]} if "messages" in line else line["input"]
            messages = messages_of(asked["messages"])
            prompts.append(Prompt(messages[-1]["content"][:MAX_PROMPT_CHARS], messages, asked.get("tools") or None))
        if len(prompts) == NUM_SAMPLES:
            break
    return prompts


def answers(model: Any, tokenizer: Any, prompts: Iterable[Prompt]) -> list[str]:
    """What the model says to each, taking the likeliest token every time."""
    # Where it is wanted: whoever reads prompts need not wait for it.
    import torch

    was_training = model.training
    model.eval()
    said = []
    for prompt in prompts:
        ids = _ids(tokenizer, prompt).to(model.device)
        with torch.no_grad():
            made = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_NEW_TOKENS, do_sample=False,
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
            )  # fmt: skip
        said.append(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True))
    model.train(was_training)
    return said


def _ids(tokenizer: Any, prompt: Prompt) -> torch.Tensor:
    if prompt.messages is None:
        return tokenizer(prompt.prompt, return_tensors="pt")["input_ids"]
    text = tokenizer.apply_chat_template(
        prompt.messages, tools=prompt.tools, add_generation_prompt=True, tokenize=False
    )
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
