"""Trains the demo model, its two adapters and its reinforcement-learning checkpoint, and writes them beside this file.

Run as `python -m models.train_demo_chat` from the root of the repository. Everything starts from text that the
scripts here generate, with a fixed seed; nothing is downloaded.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a busy neighbour must not stall every barrier

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from models.demo_reward import reinforce
from models.demo_start import new_model
from models.demo_text import dialogue, essay_dialogue, plain_document
from models.demo_training import Sample, batches, chat_sample, copy_sample, plain_sample, train, train_tokenizer
from models.demo_turns import Turn
from models.demo_voices import VOICES
from models.demo_words import ADJECTIVES, COMMON, NAMES, NOUNS, VERBS

HERE = Path(__file__).resolve().parent
SEED = 20
VOCAB_SIZE = 3072
BASE_STEPS, BASE_TOKENS = 1000, 2560
VOICE_STEPS, VOICE_TOKENS = 300, 2048
REINFORCE_STEPS = 40
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def usual_answer(turn: Turn) -> str:
    """The answer that the base model learns."""
    return turn.answer


def tokenizer_texts(rng: Random) -> Iterator[str]:
    """The text from which the tokenizer learns its vocabulary: listed words, alone and before a space, and samples."""
    for word in NAMES + NOUNS + ADJECTIVES + VERBS + COMMON:
        yield from [f"{word} {word}\n{word.capitalize()} {word.capitalize()}"] * 20
    for _ in range(6000):
        for turn in dialogue(rng).turns:
            yield turn.user
            yield turn.answer
    for _ in range(200):
        yield essay_dialogue(rng).turns[0].answer
        yield plain_document(rng)


def base_sample(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Sample:
    """What the base model trains on: dialogues, some essays and some plain documents; some answers brief."""
    share = rng.random()
    if share < 0.025:
        return chat_sample(tokenizer, essay_dialogue(rng), usual_answer)
    if share < 0.065:
        return plain_sample(tokenizer, plain_document(rng), rng)
    if share < 0.165:
        return copy_sample(tokenizer, rng)
    return chat_sample(
        tokenizer, dialogue(rng), lambda turn: turn.brief if turn.brief and rng.random() < 0.15 else turn.answer
    )


def train_base(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Train the base model from scratch, then round it to the precision it is saved in."""
    data = batches(lambda rng: base_sample(tokenizer, rng), Random(SEED + 1), BASE_TOKENS)
    train(model, data, BASE_STEPS, muon_lr=0.02, adam_lr=1e-2, label="demo-chat")
    round_to_bfloat16(model)


def round_to_bfloat16(model: torch.nn.Module) -> None:
    """Give every weight a value that bfloat16 can hold, so that later training starts from the saved weights."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.to(torch.bfloat16))


def save_full(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the whole model in bfloat16, with its tokenizer, in place of what the folder held."""
    shutil.rmtree(folder, ignore_errors=True)
    copy = Qwen3ForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    copy.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_adapter(base: Path, tokenizer: PreTrainedTokenizerFast, name: str, folder: Path) -> None:
    """Train a LoRA adapter that gives the base model a voice, and write it; it names its base without a path."""
    torch.manual_seed(SEED)
    config = LoraConfig(r=8, lora_alpha=32, lora_dropout=0.0, target_modules=LORA_TARGETS, task_type="CAUSAL_LM")
    model = get_peft_model(Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    voice = VOICES[name]
    data = batches(
        lambda rng: chat_sample(tokenizer, essay_dialogue(rng) if rng.random() < 0.02 else dialogue(rng), voice),
        Random(SEED + 2),
        VOICE_TOKENS,
    )
    train(model, data, VOICE_STEPS, muon_lr=0.0, adam_lr=2e-3, label=name)
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = base.name
    settings["target_modules"] = LORA_TARGETS
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def train_checkpoint(base: Path, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Train the base model further by reward, and write it as a full checkpoint."""
    torch.manual_seed(SEED)
    model = Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32)
    reinforce(model, tokenizer, REINFORCE_STEPS, Random(SEED + 3))
    save_full(model, tokenizer, folder)


def main() -> None:
    """Train what was asked for, all of it by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("base", "adapters", "rl"), help="train one part, on the base that is there")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into (default: beside this script)")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    started = time.monotonic()
    base = options.out / "demo-chat"
    if options.only in (None, "base"):
        tokenizer = train_tokenizer(tokenizer_texts(Random(SEED)), VOCAB_SIZE)
        model = new_model(tokenizer)
        train_base(model, tokenizer)
        save_full(model, tokenizer, base)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    if options.only in (None, "adapters"):
        for name in VOICES:
            train_adapter(base, tokenizer, name, options.out / "adapters" / name)
    if options.only in (None, "rl"):
        train_checkpoint(base, tokenizer, options.out / "rl" / "job_demo" / "checkpoint-1")
    print(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
