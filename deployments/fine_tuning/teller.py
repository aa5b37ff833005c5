"""What a training says of itself, and how it hears that it should pause."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from catalog.fine_tuning import Method, ReportKind, TrainingPlan
from deployments.fine_tuning.folders import Folders
from deployments.fine_tuning.voice import Voice
from deployments.fine_tuning.weights import Weights

TOLD_EVERY_S = 1.0
ASKED_EVERY_S = 0.5


class Diverged(Exception):
    """The loss is no number any more."""


class Teller(TrainerCallback):
    """Told of every step by the trainer."""

    def __init__(self, plan: TrainingPlan, folders: Folders, voice: Voice) -> None:
        self._plan = plan
        self._folders = folders
        self._voice = voice
        self._trainer: Any = None
        self._weights: Any = None
        self._told_at_s = self._asked_at_s = self._begun_at_s = 0.0
        self._begun_step = 0
        self._validation_loss: float | None = None
        self._validated_step = -1
        self.is_paused = False
        self.loss: float | None = None
        self.tokens_of_epoch = 0

    def follow(self, trainer: Any, weights: Weights) -> None:
        """The trainer that it belongs to, and what that trains."""
        self._trainer, self._weights = trainer, weights
        self.tokens_of_epoch = _tokens(trainer.train_dataset, self._plan.method)

    def validation_loss(self) -> float | None:
        """The loss over the validation file as the model is now; None where there is no such file."""
        if self._trainer.eval_dataset is None:
            return None
        if self._validated_step != self._trainer.state.global_step:
            self._validation_loss = float(self._trainer.evaluate()["eval_loss"])
        return self._validation_loss

    # Called by the trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The next step is the first, or the one after the checkpoint's."""
        self._begun_at_s, self._begun_step = time.monotonic(), state.global_step
        self._voice.take(
            ReportKind.STARTED,
            {
                "num_steps": state.max_steps,
                "num_examples": len(self._trainer.train_dataset),
                "trained_tokens": self.tokens_of_epoch,
                "resumed_from_step": self._begun_step,
            },
        )

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Tell of a step, once a second and of the last one."""
        if "loss" not in (logs or {}):
            return
        self.loss = float(logs["loss"])
        if not math.isfinite(self.loss):
            raise Diverged(f"The loss is no number any more after step {state.global_step}; try a lower learning rate.")
        now_s = time.monotonic()
        if now_s - self._told_at_s < TOLD_EVERY_S and state.global_step < state.max_steps:
            return
        self._told_at_s = now_s
        num_done = (state.global_step - self._begun_step) / max(1, state.max_steps)
        tokens = self.tokens_of_epoch * self._plan.hyperparameters.n_epochs * num_done
        data = {
            "step": state.global_step,
            "num_steps": state.max_steps,
            "epoch": round(state.epoch or 0.0, 3),
            "loss": self.loss,
            "tokens_per_second": round(tokens / max(1e-6, now_s - self._begun_at_s), 1),
        }
        if self._plan.method is Method.DPO:
            data |= {"reward_accuracy": logs.get("rewards/accuracies"), "reward_margin": logs.get("rewards/margins")}
        self._voice.take(ReportKind.METRICS, data)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> None:
        """Tell of the validation file's loss."""
        if state.global_step and "eval_loss" in (metrics or {}):
            self._validation_loss, self._validated_step = float(metrics["eval_loss"]), state.global_step
            self._voice.take(ReportKind.EVALUATION, {"step": state.global_step, "loss": self._validation_loss})

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop after this step, if that is wanted."""
        if self._is_wanted_to_pause() and state.global_step < state.max_steps:
            self.is_paused = control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A checkpoint is written; make it one that engines load as well."""
        if not self._voice.is_first:
            return
        step = state.global_step
        folder = self._folders.publish(step, self._weights.write)
        self._folders.mark_whole(step)
        # A pause saves between two evaluations.
        validation_loss = self._validation_loss if self._validated_step == step else None
        told = {"step": step, "folder": str(folder), "loss": self.loss, "validation_loss": validation_loss}
        self._voice.take(ReportKind.CHECKPOINT, told)

    def _is_wanted_to_pause(self) -> bool:
        """The same in every worker, for all of them must stop after the same step."""
        is_wanted = False
        if (now_s := time.monotonic()) - self._asked_at_s >= ASKED_EVERY_S:
            self._asked_at_s = now_s
            is_wanted = self._voice.should_pause()
        if self._plan.num_workers == 1:
            return is_wanted
        said = torch.tensor([int(is_wanted)], device=self._trainer.args.device)
        torch.distributed.broadcast(said, src=0)
        return bool(said.item())


def _tokens(dataset: Any, method: Method) -> int:
    """Tokens that go through the model in one epoch."""
    if method is Method.DPO:
        lengths = zip(dataset["prompt_ids"], dataset["chosen_ids"], dataset["rejected_ids"], strict=True)
        return sum(2 * len(prompt) + len(chosen) + len(rejected) for prompt, chosen, rejected in lengths)
    return sum(map(len, dataset["input_ids"]))
