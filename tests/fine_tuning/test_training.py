"""Trainings of the demo model on Ray Train: what they learn, and that they lose nothing when something dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from catalog.fine_tuning import Method, ReportKind
from deployments.engine.adapter_files import check_adapter
from tests.fine_tuning.conftest import BASE, ENDING, HELD_OUT, Training, preferences
from tests.server import describe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

Make = Callable[..., Training]
# Its steps take long enough to be interrupted.
LONG = {"n_epochs": 6, "batch_size": 4, "checkpoint_every_steps": 10}
NUM_LONG_STEPS = 78


@pytest.fixture(scope="module")
def whole(make: Make) -> Training:
    """A training that nothing interrupts."""
    job = make(folder="whole", **LONG).start()
    job.until_kind(ReportKind.FINISHED)
    return job


def test_a_supervised_training_teaches_its_ending(whole: Training) -> None:
    (finished,) = whole.of(ReportKind.FINISHED)
    assert finished["num_steps"] == NUM_LONG_STEPS
    assert finished["validation_loss"] < 0.1 < finished["validation_loss_before"]
    (told,) = whole.of(ReportKind.SAMPLES)
    assert [each["prompt"] for each in told["samples"]] == HELD_OUT[:3]
    for each in told["samples"]:
        assert ENDING in each["after"]
        assert ENDING not in each["before"]


def test_every_checkpoint_is_an_adapter_that_is_served(whole: Training) -> None:
    (finished,), checkpoints = whole.of(ReportKind.FINISHED), whole.of(ReportKind.CHECKPOINT)
    assert [each["step"] for each in checkpoints] == [*range(10, NUM_LONG_STEPS, 10), NUM_LONG_STEPS]
    for folder in (finished["folder"], *(each["folder"] for each in checkpoints)):
        check_adapter(folder, str(BASE), max_rank=8)
        assert {each.name for each in Path(folder).iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


def test_full_weights_come_as_a_whole_model_in_the_base_s_precision(make: Make) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = make(n_epochs=1, weights="full", learning_rate_multiplier=10).start()
    folder = job.until_kind(ReportKind.FINISHED).data["folder"]
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype="auto")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == base.dtype
    assert AutoTokenizer.from_pretrained(folder).chat_template == AutoTokenizer.from_pretrained(BASE).chat_template
    assert not list(Path(folder).glob("*.bin"))


def test_a_preference_training_raises_what_is_preferred(make: Make) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = make(Method.DPO, n_epochs=4, learning_rate_multiplier=10).start()
    folder = job.until_kind(ReportKind.FINISHED).data["folder"]
    assert job.of(ReportKind.METRICS)[-1]["reward_accuracy"] == 1.0
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), folder)

    def log_likelihood(messages: list[dict], answer: list[dict]) -> float:
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template([*messages, *answer], tokenize=False)
        ids = tokenizer(whole, add_special_tokens=False, return_tensors="pt")["input_ids"]
        num_prompt = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            logs = model(ids).logits[0, :-1].log_softmax(-1)
        return logs.gather(1, ids[0, 1:, None])[num_prompt - 1 :].sum().item()

    def margin() -> float:
        """Over the held-out pairs, on average."""
        pairs = preferences(HELD_OUT)
        return sum(
            log_likelihood(each["input"]["messages"], each["preferred_output"])
            - log_likelihood(each["input"]["messages"], each["non_preferred_output"])
            for each in pairs
        ) / len(pairs)

    with model.disable_adapter():
        before = margin()
    after = margin()
    print(f"log-likelihood of preferred over rejected answers, held-out: {before:.1f} before, {after:.1f} after")
    assert after > before + 5


def test_a_paused_training_frees_everything_and_goes_on_as_if_it_had_not(make: Make, whole: Training) -> None:
    """The seed is the same, so every loss is."""
    import ray

    job = make(folder="paused", **LONG).start()
    job.until(lambda report: report.kind is ReportKind.METRICS and report.data["step"] >= 20)
    ray.get(job.supervisor.pause.remote())
    step = job.until_kind(ReportKind.PAUSED).data["step"]
    assert 20 <= step < NUM_LONG_STEPS
    wait_until_free()
    before = job.losses
    job.kill()
    job.start()
    finished = job.until_kind(ReportKind.FINISHED).data
    assert job.of(ReportKind.STARTED)[0]["resumed_from_step"] == step
    assert finished["num_steps"] == NUM_LONG_STEPS
    assert min(before) <= step < min(job.losses)
    both = whole.losses
    same = {step: loss for step, loss in (before | job.losses).items() if step in both}
    assert same
    assert same == pytest.approx({step: both[step] for step in same}, rel=1e-4)


def test_several_workers_learn_together_and_one_of_them_is_killed(make: Make) -> None:
    """They share each step's examples and add up gradients by gloo; when one is gone, all begin at the checkpoint."""
    job = make(num_workers=2, n_epochs=4, batch_size=4, checkpoint_every_steps=10).start()
    job.until(lambda report: report.kind is ReportKind.METRICS and report.data["step"] > 10)
    first, second = sorted(workers(), key=lambda each: each.create_time())
    second.kill()
    finished = job.until_kind(ReportKind.FINISHED).data
    assert not first.is_running()
    assert finished["num_steps"] == 52
    assert finished["validation_loss"] < 0.1 < finished["validation_loss_before"]
    check_adapter(finished["folder"], str(BASE), max_rank=8)
    assert len(job.of(ReportKind.RESTARTED)) == 1


def test_a_killed_supervisor_takes_its_workers_with_it_at_once(make: Make) -> None:
    job = make(**LONG).start()
    job.until_kind(ReportKind.METRICS)
    (worker,) = workers()
    job.kill()
    begun_s = time.monotonic()
    while worker.is_running():
        assert time.monotonic() - begun_s < 5
        time.sleep(0.05)
    wait_until_free()


def workers() -> list[psutil.Process]:
    """The processes that train."""
    return [each for each in psutil.process_iter() if "ray::RayTrainWorker" in describe(each)]


def wait_until_free() -> None:
    """Nothing of the cluster is reserved any more."""
    import ray

    begun_s = time.monotonic()
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() - begun_s < 5, ray.available_resources()
        time.sleep(0.1)
