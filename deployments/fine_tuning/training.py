"""What each worker of a training does: TRL's trainer, on the plan's examples, from the last checkpoint on.

Everything that a program can know beforehand to be useless a second time (a model that cannot be loaded, a loss that is
no number, too little memory) ends the training with its reason. A worker that dies is Ray Train's to start again.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    set_seed,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from catalog.fine_tuning import Hyperparameters, Method, ReportKind, TrainingPlan
from deployments.fine_tuning.batches import share_out
from deployments.fine_tuning.examples import lines_of, prepared
from deployments.fine_tuning.folders import Folders
from deployments.fine_tuning.samples import answers, first_prompts
from deployments.fine_tuning.teller import Diverged, Teller, Voice
from deployments.fine_tuning.weights import write_servable

logger = logging.getLogger("ray.train")

# Above that of other processes of the machine, which serve.
NICENESS = 10
LEARNING_RATE = {"lora": 2e-4, "full": 2e-5}
KEPT_CHECKPOINTS = 2

Trainer = SFTTrainer | DPOTrainer


def train(plan: TrainingPlan) -> None:
    """Train as planned, and say what became of it."""
    voice = Voice(plan.job_id)
    try:
        voice.end(*_trained(plan, voice))
    except Exception as error:
        logger.exception("the training of %s failed", plan.job_id)
        voice.fail(_reason(error))
        if plan.num_workers > 1:
            # The others wait for this one, so Ray Train has to end them.
            raise


def _reason(error: Exception) -> str:
    if isinstance(error, Diverged):
        return str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "The memory is too small for this batch_size and these examples."
    return f"The training failed ({type(error).__name__}); the log says why."


def _trained(plan: TrainingPlan, voice: Voice) -> tuple[ReportKind, dict[str, Any]]:
    on_gpu = torch.cuda.is_available() and bool(plan.worker_resources.get("GPU"))
    if not on_gpu:
        os.nice(NICENESS)
    voice.begin()
    set_seed(plan.seed)
    tokenizer = AutoTokenizer.from_pretrained(plan.model)
    # Weights that are a pickle are refused.
    model = AutoModelForCausalLM.from_pretrained(
        plan.model, dtype=torch.bfloat16 if on_gpu else torch.float32, use_safetensors=True
    )
    examples = list(lines_of(plan.training_file))
    held_out = list(lines_of(plan.validation_file)) if plan.validation_file else []
    folders = Folders(Path(plan.folder))
    teller = Teller(plan, folders, voice)
    trainer = _trainer(plan, folders, model, tokenizer, prepared(examples, plan.method), held_out, teller)
    teller.follow(trainer, tokenizer)

    prompts = first_prompts(held_out or examples)
    resumed_from = folders.last_whole()
    before = folders.before() if resumed_from else None
    if before is None:
        before = {"answers": answers(trainer.model, tokenizer, prompts), "validation_loss": teller.validation_loss()}
        if voice.is_first:
            folders.note_before(before)
    teller.has_begun(resumed_from)
    trainer.train(resume_from_checkpoint=str(resumed_from) if resumed_from else None)
    if teller.is_paused:
        return ReportKind.PAUSED, {"step": trainer.state.global_step}

    validation_loss = teller.validation_loss()
    after = answers(trainer.model, tokenizer, prompts)
    samples = [
        {"prompt": told.prompt, "before": said, "after": says}
        for told, said, says in zip(prompts, before["answers"], after, strict=True)
    ]
    voice.take(ReportKind.SAMPLES, {"samples": samples})
    result: Path | None = None
    if voice.is_first:
        result = folders.publish(None, lambda folder: write_servable(trainer.model, tokenizer, plan, folder))
        folders.clear_state()
    return ReportKind.FINISHED, {
        "folder": str(result),
        "num_steps": trainer.state.global_step,
        "trained_tokens": teller.tokens_of_epoch * plan.hyperparameters.n_epochs,
        "loss": teller.loss,
        "validation_loss": validation_loss,
        "validation_loss_before": before["validation_loss"],
    }


def _trainer(
    plan: TrainingPlan,
    folders: Folders,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: list[dict[str, Any]],
    held_out: list[dict[str, Any]],
    teller: Teller,
) -> Trainer:
    wished = plan.hyperparameters
    batches = share_out(wished.batch_size, plan.num_workers)
    steps_of_epoch = math.ceil(len(examples) / (batches.per_worker * plan.num_workers))
    every = wished.checkpoint_every_steps or steps_of_epoch
    on_cpu = model.device.type == "cpu" and not plan.worker_resources.get("GPU")
    common: dict[str, Any] = {
        "output_dir": str(folders.state),
        "num_train_epochs": wished.n_epochs,
        "per_device_train_batch_size": batches.micro_batch,
        "per_device_eval_batch_size": batches.micro_batch,
        "gradient_accumulation_steps": batches.num_micro_batches,
        "learning_rate": learning_rate(plan.method, wished),
        "warmup_steps": 0.05,
        "lr_scheduler_type": "cosine",
        "max_length": plan.max_tokens,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": KEPT_CHECKPOINTS,
        "eval_strategy": "steps" if held_out else "no",
        "eval_steps": every,
        "use_cpu": on_cpu,
        "bf16": not on_cpu,
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "disable_tqdm": True,
        "report_to": [],
    }
    lora = LoraConfig(
        r=wished.lora_rank, lora_alpha=2 * wished.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    given: dict[str, Any] = {
        "model": model,
        "processing_class": tokenizer,
        "train_dataset": _table(examples),
        "eval_dataset": _table(prepared(held_out, plan.method)) if held_out else None,
        "peft_config": lora if wished.weights == "lora" else None,
        "callbacks": [teller],
    }
    if plan.method is Method.DPO:
        trainer: Trainer = DPOTrainer(args=DPOConfig(**common, beta=wished.beta), **given)
    else:
        trainer = SFTTrainer(args=SFTConfig(**common, completion_only_loss=True), **given)
    # It prints every step.
    trainer.remove_callback(PrinterCallback)
    return trainer


def learning_rate(method: Method, wished: Hyperparameters) -> float:
    """The rate at which the training begins to fall."""
    base = LEARNING_RATE[wished.weights] * (0.5 if method is Method.DPO else 1.0)
    return base * wished.learning_rate_multiplier


def _table(examples: list[dict[str, Any]]) -> Dataset:
    # Arguments of tool calls differ from one example to the next.
    return Dataset.from_list(examples, on_mixed_types="use_json")
