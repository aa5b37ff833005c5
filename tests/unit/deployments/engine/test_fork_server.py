"""vLLM and torch are stand-ins here: only what the fork server touches of them."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from deployments.engine import fork_server


def module(monkeypatch: pytest.MonkeyPatch, name: str, **names: Any) -> Any:
    found = ModuleType(name)
    vars(found).update(names)
    monkeypatch.setitem(sys.modules, name, found)
    return found


def test_vllm_forks_also_from_modules_that_were_imported_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def spawning() -> str:
        return "spawn"

    def other() -> str:
        return "other"

    utils = module(monkeypatch, "vllm.utils.system_utils", get_mp_context=spawning)
    module(monkeypatch, "vllm.utils", system_utils=utils)
    module(monkeypatch, "vllm", utils=sys.modules["vllm.utils"])
    early = module(monkeypatch, "vllm_early", get_mp_context=spawning)
    unrelated = module(monkeypatch, "unrelated", get_mp_context=other)
    fork_server.use()
    assert early.get_mp_context() is utils.get_mp_context()
    assert early.get_mp_context().get_start_method() == "forkserver"
    assert unrelated.get_mp_context() == "other"


def test_what_was_imported_earlier_heeds_what_is_set_since(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    config = SimpleNamespace(disable=False)
    dynamo = module(monkeypatch, "torch._dynamo", config=config)
    monkeypatch.setitem(sys.modules, "torch._dynamo.config", config)
    module(monkeypatch, "torch", _dynamo=dynamo, set_num_threads=threads.append)
    constants = SimpleNamespace(HF_HUB_OFFLINE=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", constants)
    module(monkeypatch, "huggingface_hub", constants=constants)
    for name in ("HF_HUB_OFFLINE", "TORCH_COMPILE_DISABLE", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    fork_server.heed_environment()
    assert (constants.HF_HUB_OFFLINE, config.disable, threads) == (False, False, [])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    fork_server.heed_environment()
    assert (constants.HF_HUB_OFFLINE, config.disable, threads) == (True, True, [3])
