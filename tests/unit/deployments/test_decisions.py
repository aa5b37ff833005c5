"""Scaling decisions in the cluster's key-value store: the last ones are kept, and nobody fails without the store."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from catalog.replicas import ScalingDecision
from deployments import decisions

IDLE = ScalingDecision(9.0, 1, 0, "idle for 300 s")


class FakeStore:
    """The functions of `ray.experimental.internal_kv` that are used, on a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Any] = {}

    def _internal_kv_get(self, key: str, *, namespace: str) -> Any:
        return self.kept.get((namespace, key))

    def _internal_kv_put(self, key: str, value: str, *, overwrite: bool, namespace: str) -> None:
        assert overwrite
        self.kept[namespace, key] = value

    def _internal_kv_del(self, key: str, *, namespace: str) -> None:
        self.kept.pop((namespace, key), None)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    store = FakeStore()
    monkeypatch.setattr(decisions, "internal_kv", store)
    return store


def written() -> None:
    """Wait for what is being written."""
    decisions._writing.submit(lambda: None).result(5)


def test_the_last_ten_of_an_application_are_kept_in_their_order(store: FakeStore) -> None:
    made = [ScalingDecision(float(second), 1, 2, f"{second} ongoing requests") for second in range(13)]
    for decision in made:
        decisions.note("model-x", decision)
    decisions.note("model-y", IDLE)
    written()
    assert decisions.read("model-x") == tuple(made[-10:])
    assert decisions.read("model-y") == (IDLE,)


def test_forgotten_ones_are_gone_from_the_store(store: FakeStore) -> None:
    decisions.note("model-x", IDLE)
    written()
    decisions.forget("model-x")
    assert decisions.read("model-x") == ()
    assert not store.kept


def test_whoever_notes_does_not_wait_for_a_store_that_hangs(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hang(key: str, *, namespace: str) -> None:
        assert answers.wait(5)

    monkeypatch.setattr(store, "_internal_kv_get", hang)
    decisions.note("model-x", IDLE)
    assert not store.kept
    answers.set()
    written()
    assert store.kept


def test_without_a_store_nothing_fails_and_the_next_decision_is_kept_again(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("the store is away")

    with monkeypatch.context() as away:
        for name in ("_internal_kv_get", "_internal_kv_put", "_internal_kv_del"):
            away.setattr(store, name, refuse)
        decisions.note("model-x", IDLE)
        written()
        decisions.forget("model-x")
        assert decisions.read("model-x") == ()
    decisions.note("model-x", IDLE)
    written()
    assert decisions.read("model-x") == (IDLE,)
