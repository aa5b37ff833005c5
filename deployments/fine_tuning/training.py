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
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from catalog.fine_tuning import Hyperparameters, Method, ReportKind, TrainingPlan
from catalog.sources import SourceNotFound
from deployments.fine_tuning.batches import share_out
from deployments.fine_tuning.examples import examples_of, prepared
from deployments.fine_tuning.folders import Folders
from deployments.fine_tuning.samples import answers, first_prompts
from deployments.fine_tuning.teller import Diverged, Teller
from deployments.fine_tuning.voice import Voice
from deployments.fine_tuning.weights import Weights
from deployments.sources.bring import Sources

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
    if isinstance(error, SourceNotFound):
        return f"The base model's files cannot be had: {error.for_callers}."
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "The memory is too small for this batch_size and these examples."
    return f"The training failed ({type(error).__name__}); the log says why."


def _trained(plan: TrainingPlan, voice: Voice) -> tuple[ReportKind, dict[str, Any]]:
    on_gpu = torch.cuda.is_available() and bool(plan.worker_resources.get("GPU"))
    if not on_gpu:
        os.nice(NICENESS)
    voice.begin()
    set_seed(plan.seed)
    examples = [example for _, example in examples_of(plan.training_file)]
    held_out = [example for _, example in examples_of(plan.validation_file)] if plan.validation_file else []
    folders = Folders(Path(plan.folder))
    teller = Teller(plan, folders, voice)
    trainer, weights = _trainer(plan, str(folders.state), examples, held_out, teller, on_gpu=on_gpu)
    teller.follow(trainer, weights)

    prompts = first_prompts(held_out or examples)
    resumed_from = folders.last_whole()
    before = folders.before() if resumed_from else None
    if before is None:
        said = answers(weights.model, weights.tokenizer, prompts)
        before = {"answers": said, "validation_loss": teller.validation_loss()}
        if voice.is_first:
            folders.note_before(before)
    trainer.train(resume_from_checkpoint=str(resumed_from) if resumed_from else None)
    if teller.is_paused:
        return ReportKind.PAUSED, {"step": trainer.state.global_step}

    validation_loss = teller.validation_loss()
    after = answers(weights.model, weights.tokenizer, prompts)
    samples = [
        {"prompt": told.prompt, "before": said, "after": says}
        for told, said, says in zip(prompts, before["answers"], after, strict=True)
    ]
    voice.take(ReportKind.SAMPLES, {"samples": samples})
    result: Path | None = None
    if voice.is_first:
        result = folders.publish(None, weights.write)
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
    folder: str,
    examples: list[dict[str, Any]],
    held_out: list[dict[str, Any]],
    teller: Teller,
    *,
    on_gpu: bool,
) -> tuple[Trainer, Weights]:
    """TRL's trainer of the plan, and what it trains."""
    location = Sources(plan.source_cache).bring_now(plan.model).location
    tokenizer = AutoTokenizer.from_pretrained(location)
    # Weights that are a pickle are refused.
    model = AutoModelForCausalLM.from_pretrained(
        location, dtype=torch.bfloat16 if on_gpu else torch.float32, use_safetensors=True
    )
    is_adapter = plan.hyperparameters.weights == "lora"
    learned = prepared(examples, plan.method)
    arguments = _arguments(plan, folder, len(learned), is_validated=bool(held_out), on_gpu=on_gpu)
    given: dict[str, Any] = {
        "model": model,
        "processing_class": tokenizer,
        "train_dataset": _table(learned),
        "eval_dataset": _table(prepared(held_out, plan.method)) if held_out else None,
        "peft_config": _lora(plan.hyperparameters) if is_adapter else None,
        "callbacks": [teller],
    }
    if plan.method is Method.DPO:
        trainer: Trainer = DPOTrainer(args=DPOConfig(**arguments, beta=plan.hyperparameters.beta), **given)
    else:
        trainer = SFTTrainer(args=SFTConfig(**arguments, completion_only_loss=True), **given)
    # It prints every step.
    trainer.remove_callback(PrinterCallback)
    dtype = AutoConfig.from_pretrained(location).dtype
    dtype = dtype if isinstance(dtype, torch.dtype) else torch.bfloat16
    return trainer, Weights(trainer.model, tokenizer, dtype, is_adapter=is_adapter)


def _arguments(
    plan: TrainingPlan, folder: str, num_examples: int, *, is_validated: bool, on_gpu: bool
) -> dict[str, Any]:
    """What both of TRL's configurations take."""
    wished = plan.hyperparameters
    batches = share_out(wished.batch_size, plan.num_workers)
    steps_of_epoch = math.ceil(num_examples / (batches.per_worker * plan.num_workers))
    every = wished.checkpoint_every_steps or steps_of_epoch
    return {
        "output_dir": folder,
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
        "eval_strategy": "steps" if is_validated else "no",
        "eval_steps": every,
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "gradient_checkpointing": on_gpu,
        "dataloader_pin_memory": on_gpu,
        "disable_tqdm": True,
        "report_to": [],
    }


def _lora(wished: Hyperparameters) -> LoraConfig:
    return LoraConfig(
        r=wished.lora_rank, lora_alpha=2 * wished.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def learning_rate(method: Method, wished: Hyperparameters) -> float:
    """The rate at which the training begins to fall."""
    base = LEARNING_RATE[wished.weights] * (0.5 if method is Method.DPO else 1.0)
    return base * wished.learning_rate_multiplier


def _table(examples: list[dict[str, Any]]) -> Dataset:
    # Arguments of tool calls differ from one example to the next.
    return Dataset.from_list(examples, on_mixed_types="use_json")
