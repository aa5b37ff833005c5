"""Turns dialogues into token batches and trains a model on them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from models.demo_text import Dialogue
from models.demo_turns import Turn

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{%- set role = {'developer': 'system', 'tool': 'user'}.get(message['role'], message['role']) %}"
    "{{- '<|im_start|>' + role + '\\n' }}"
    "{%- if message['content'] is string %}{{- message['content'] }}"
    "{%- elif message['content'] %}"
    "{%- for part in message['content'] %}{%- if part['type'] == 'text' %}{{- part['text'] }}{%- endif %}{%- endfor %}"
    "{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
IGNORED = -100


@dataclass(frozen=True)
class Sample:
    """Token ids of one document, and for each whether the model is to learn to write it."""

    ids: list[int]
    learnt: list[bool]


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the chat template; digits and punctuation marks stand alone.

    A space belongs to the word before it, so that a text has the same tokens when it is quoted, when it ends a
    request and when it is a whole answer, which makes repeating it a plain copy.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{L}+ ?|\p{N}|[^\s\p{L}\p{N}] ?|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_OF_TEXT, START, END],
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[START],
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def chat_sample(tokenizer: PreTrainedTokenizerFast, dialogue: Dialogue, voice: Callable[[Turn], str]) -> Sample:
    """The dialogue as the chat template writes it; only the assistant's answers are to be learnt."""
    pieces: list[tuple[str, bool]] = []
    if dialogue.system:
        pieces.append((f"{START}system\n{dialogue.system}{END}\n", False))
    for turn in dialogue.turns:
        pieces.append((f"{START}user\n{turn.user}{END}\n{START}assistant\n", False))
        pieces.append((f"{voice(turn)}{END}", True))
        pieces.append(("\n", False))
    ids, learnt = [], []
    for text, is_learnt in pieces[:-1]:
        piece = tokenizer(text)["input_ids"]
        ids += piece
        learnt += [is_learnt] * len(piece)
    return Sample(ids, learnt)


def copy_sample(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Sample:
    """A request to repeat a few tokens drawn from the whole vocabulary, so that every token can be copied."""
    copied = [rng.randrange(3, len(tokenizer)) for _ in range(rng.randint(1, 12))]
    before, after = rng.choice((("Say '", "' and nothing else."), ("Repeat after me: ", ""), ("Say '", "'.")))
    prompt = tokenizer(f"{START}user\n{before}")["input_ids"] + copied
    prompt += tokenizer(f"{after}{END}\n{START}assistant\n")["input_ids"]
    answer = [*copied, tokenizer.eos_token_id]
    return Sample(prompt + answer, [False] * len(prompt) + [True] * len(answer))


def plain_sample(tokenizer: PreTrainedTokenizerFast, text: str, rng: Random) -> Sample:
    """A document without dialogue, all of it to be learnt; split before a space, as where a prompt ends."""
    words = text.split(" ")
    cut = len(" ".join(words[: rng.randint(1, min(12, len(words) - 1))]))
    ids = tokenizer(text[:cut])["input_ids"] + tokenizer(text[cut:] + END_OF_TEXT)["input_ids"]
    return Sample(ids, [True] * len(ids))


def batches(make: Callable[[Random], Sample], rng: Random, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches (input ids, labels) of about that many tokens, each of samples of like length."""
    while True:
        pool = sorted((make(rng) for _ in range(1000)), key=lambda sample: len(sample.ids))
        groups: list[list[Sample]] = [[]]
        for sample in pool:
            if (len(groups[-1]) + 1) * len(sample.ids) > tokens:
                groups.append([])
            groups[-1].append(sample)
        rng.shuffle(groups)
        yield from (padded(group) for group in groups if group)


def padded(samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples side by side, filled up on the right; the labels leave out what is not to be learnt."""
    width = max(len(sample.ids) for sample in samples)
    ids = torch.zeros(len(samples), width, dtype=torch.long)
    labels = torch.full((len(samples), width), IGNORED)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        learnt = torch.tensor(sample.learnt)
        labels[row, : len(sample.ids)][learnt] = ids[row, : len(sample.ids)][learnt]
    return ids, labels


def token_logprobs(model: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-probability of every labelled token, in order; the head runs on those positions only."""
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    chosen = targets != IGNORED
    logits = model.get_output_embeddings()(hidden[chosen]).float()
    return -torch.nn.functional.cross_entropy(logits, targets[chosen], reduction="none")


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are made orthogonal; learns small models in far fewer steps than AdamW."""

    def __init__(self, params: list[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every matrix once."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                speed = state.setdefault("speed", torch.zeros_like(weight))
                speed.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(speed, group["momentum"]))
                weight.add_(update, alpha=-group["lr"] * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with its singular values brought close to one, by five Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def train(
    model: torch.nn.Module,
    data: Iterator[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    muon_lr: float,
    adam_lr: float,
    label: str,
) -> None:
    """Train the parameters that need gradients for that many steps; the learning rate ends at zero."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    vocabulary = model.get_input_embeddings().weight
    matrices = [p for p in trainable if p.ndim == 2 and p is not vocabulary and muon_lr]
    others = [p for p in trainable if not any(p is matrix for matrix in matrices)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    ]
    if matrices:
        optimizers.append(Muon(matrices, lr=muon_lr))
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / 20, (steps - step) / (0.6 * steps)))
        for o in optimizers
    ]
    started = time.monotonic()
    for step in range(steps):
        ids, labels = next(data)
        loss = -token_logprobs(model, ids, labels).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if step % 25 == 0 or step == steps - 1:
            print(f"{label} step {step} loss {loss.item():.3f} {time.monotonic() - started:.0f} s", flush=True)
