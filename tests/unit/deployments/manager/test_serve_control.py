from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayError, RayTaskError

from catalog.errors import AdapterRejected
from deployments.manager import serve_control
from deployments.manager.serve_control import HOLD_ATTEMPTS, ServeControl
from tests.unit.builders import adapter

HELD = "the report of the replica that holds it"


class Handle:
    """A Serve handle whose calls break off as often as there are errors."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.num_calls = 0
        self.hold_adapter = SimpleNamespace(remote=self._hold)

    def options(self, *, multiplexed_model_id: str) -> Handle:
        return self

    async def _hold(self, adapter: Any) -> str:
        self.num_calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return HELD


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(serve_control, "HOLD_PAUSE_S", 0)
    spec: Any = SimpleNamespace(key="a@CPU", app_name="model-a-cpu")

    async def hold(handle: Handle) -> Any:
        monkeypatch.setattr(serve_control.serve, "get_deployment_handle", lambda *_, **__: handle)
        return await ServeControl().hold_adapter(spec, adapter())

    return hold


@pytest.mark.parametrize(
    "error",
    [RayActorError(), RayTaskError("hold_adapter", "", RuntimeError("the engine died"))],
    ids=["killed", "engine"],
)
async def test_an_adapter_goes_to_the_next_replica_when_one_dies_under_it(hold: Any, error: Exception) -> None:
    handle = Handle(error)
    assert await hold(handle) == HELD
    assert handle.num_calls == 2


async def test_after_some_attempts_it_is_given_up(hold: Any) -> None:
    handle = Handle(*[RayActorError()] * HOLD_ATTEMPTS)
    with pytest.raises(RayError):
        await hold(handle)
    assert handle.num_calls == HOLD_ATTEMPTS


async def test_what_a_replica_says_of_the_adapter_is_final(hold: Any) -> None:
    handle = Handle(RayTaskError("hold_adapter", "", AdapterRejected("its rank is 99")))
    with pytest.raises(AdapterRejected, match="its rank is 99"):
        await hold(handle)
    assert handle.num_calls == 1
