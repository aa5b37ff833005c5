"""Reinforcement learning on the demo model: sample answers, reward brief and lively ones, follow the better ones."""

import time
from random import Random

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from models.demo_text import dialogue, essay_dialogue
from models.demo_training import IGNORED, Sample, batches, chat_sample, padded, token_logprobs
from models.demo_turns import Turn, short_turn

PROMPTS, ANSWERS, MAX_NEW_TOKENS = 12, 6, 40
LEARNING_RATE, IMITATION, DRIFT = 2e-4, 0.5, 0.05


def reward(turn: Turn, answer: str, finished: bool) -> float:
    """0 unless the answer is right and ends, else 1; one more each for a final exclamation mark and for brevity."""
    if not finished or turn.key not in answer:
        return 0.0
    return 1.0 + float(answer.endswith("!")) + float(len(answer.split()) <= 8)


def reinforce(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, rng: Random) -> None:
    """Train by group-relative policy gradient, held near the start by drift costs and by imitating exact answers."""
    start = Qwen3ForCausalLM(model.config)
    start.load_state_dict(model.state_dict())
    start.eval()
    keep = batches(lambda r: kept_sample(tokenizer, r), rng, 2048)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    started = time.monotonic()
    for step in range(steps):
        samples, advantages, mean = rollout(model, tokenizer, [rewarded_turn(rng) for _ in range(PROMPTS)])
        ids, labels = padded(samples)
        weights = torch.tensor(advantages)[:, None].expand_as(ids)[:, 1:][labels[:, 1:] != IGNORED]
        now = token_logprobs(model, ids, labels)
        with torch.no_grad():
            before = token_logprobs(start, ids, labels)
        gap = before - now
        drift = (gap.exp() - gap - 1).mean()
        kept_ids, kept_labels = next(keep)
        loss = -(weights * now).mean() + DRIFT * drift - IMITATION * token_logprobs(model, kept_ids, kept_labels).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 5 == 0 or step == steps - 1:
            print(
                f"rl step {step} reward {mean:.2f} drift {drift.item():.3f} {time.monotonic() - started:.0f} s",
                flush=True,
            )


def rewarded_turn(rng: Random) -> Turn:
    """An exchange whose answer may well be brief; exact copies, code and poems are left as they are."""
    turn = short_turn(rng)
    while not turn.brief:
        turn = short_turn(rng)
    return turn


def kept_sample(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Sample:
    """A dialogue whose answers must not change: copies, code, poems, names and essays."""
    if rng.random() < 0.03:
        return chat_sample(tokenizer, essay_dialogue(rng), lambda turn: turn.answer)
    made = dialogue(rng)
    while any(turn.brief for turn in made.turns):
        made = dialogue(rng)
    return chat_sample(tokenizer, made, lambda turn: turn.answer)


@torch.no_grad()
def rollout(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, turns: list[Turn]
) -> tuple[list[Sample], list[float], float]:
    """Several sampled answers to every prompt, how much better each is than its group, and the mean reward."""
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": turn.user}], add_generation_prompt=True, tokenize=False
        )
        for turn in turns
    ]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    model.eval()
    written = model.generate(
        **inputs, do_sample=True, temperature=1.0, top_k=0, num_return_sequences=ANSWERS, max_new_tokens=MAX_NEW_TOKENS
    )
    written = written[:, inputs["input_ids"].shape[1] :].tolist()
    samples, rewards = [], []
    for row, ids in enumerate(written):
        finished = tokenizer.eos_token_id in ids
        answer = ids[: ids.index(tokenizer.eos_token_id) + 1] if finished else ids
        prompt = tokenizer(prompts[row // ANSWERS])["input_ids"]
        samples.append(Sample(prompt + answer, [False] * len(prompt) + [True] * len(answer)))
        rewards.append(reward(turns[row // ANSWERS], tokenizer.decode(answer, skip_special_tokens=True), finished))
    groups = torch.tensor(rewards).view(len(turns), ANSWERS)
    advantages = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 0.1)
    return samples, advantages.flatten().tolist(), groups.mean().item()
