"""Models that stand in for others, and deadlines."""

from __future__ import annotations

import asyncio
import json

import pytest

from catalog.catalog import Catalog
from catalog.errors import ContextLengthExceeded, GpuUnavailable, ModelFailed, RaymuxError
from deployments.gateway.exchange import Reply
from router.keys import Keyring
from tests.unit.builders import CHAT, catalog_dict, catalog_settings, report
from tests.unit.deployments.gateway.conftest import GatewayUnderTest
from tests.unit.deployments.gateway.test_guard import LIMITED, headers, key

SPARE = "spare"


@pytest.fixture
async def fallbacks(gateway: GatewayUnderTest) -> GatewayUnderTest:
    """The chat model has no replica and cannot start; its stand-in is warm."""
    models = catalog_dict()["models"]
    models[0]["fallbacks"] = [SPARE]
    models.append({"name": SPARE, "source": "models/demo-chat", "variants": [{"shape": "CPU"}]})
    gateway.manager.configure(catalog_settings(models=models))
    fail_with(gateway, ModelFailed("the weights are cursed"))
    await gateway.publish(report("spare-1", variant=f"{SPARE}@CPU"))
    return gateway


def fail_with(gateway: GatewayUnderTest, error: RaymuxError) -> None:
    async def ensure(*_: object) -> RaymuxError:
        return error

    gateway.manager.on_ensure = ensure


@pytest.mark.parametrize("error", [ModelFailed("x"), GpuUnavailable("x")])
async def test_a_model_that_cannot_answer_is_stood_in_for(fallbacks: GatewayUnderTest, error: RaymuxError) -> None:
    fail_with(fallbacks, error)
    reply = await fallbacks.chat(temperature=0.5)
    assert reply.status_code == 200
    assert reply.headers["x-raymux-model"] == SPARE
    assert json.loads(fallbacks.relay.calls[0].body) == {"model": SPARE, "temperature": 0.5}


async def test_a_request_that_is_wrong_is_not_asked_of_another_model(fallbacks: GatewayUnderTest) -> None:
    await fallbacks.publish(report("r1"), report("spare-1", variant=f"{SPARE}@CPU"))
    fallbacks.relay.script = [ContextLengthExceeded("too long")]
    assert (await fallbacks.chat()).status_code == 400
    assert len(fallbacks.relay.calls) == 1


async def test_a_reply_that_has_begun_is_not_begun_again(fallbacks: GatewayUnderTest) -> None:
    async def break_off(reply: Reply) -> None:
        await reply.begin(200, b"text/event-stream")
        await reply.write(b"data: 1\n\n")
        raise ModelFailed("broken")

    await fallbacks.publish(report("r1"), report("spare-1", variant=f"{SPARE}@CPU"))
    fallbacks.relay.script = [break_off]
    reply = await fallbacks.chat(stream=True)
    assert len(fallbacks.relay.calls) == 1
    assert "model_failed" in reply.text


async def test_when_the_stand_in_fails_too_its_error_is_told(fallbacks: GatewayUnderTest) -> None:
    await fallbacks.publish()
    fail_with(fallbacks, GpuUnavailable("nothing left"))
    reply = await fallbacks.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "gpu_unavailable")


async def test_a_key_gets_no_stand_in_that_it_may_not_use(fallbacks: GatewayUnderTest) -> None:
    fallbacks.keyring = Keyring([key("limited", LIMITED, models=[CHAT])])
    reply = await fallbacks.chat(headers(LIMITED))
    assert reply.json()["error"]["code"] == "model_failed"


@pytest.mark.parametrize(
    ("names", "problem"), [(["nobody"], "no model is named"), (["embedder"], "does not do the tasks")]
)
def test_a_stand_in_must_exist_and_do_the_same(names: list[str], problem: str) -> None:
    models = catalog_dict()["models"]
    models[0]["fallbacks"] = names
    with pytest.raises(ValueError, match=problem):
        Catalog(catalog_settings(models=models))


async def test_a_request_that_takes_longer_than_its_deadline_ends(gateway: GatewayUnderTest) -> None:
    gateway.settings = gateway.settings.model_copy(update={"deadline_s": 0.02})
    await gateway.publish(report("r1"))

    async def for_ever(reply: Reply) -> None:
        await asyncio.Event().wait()

    async def quick(reply: Reply) -> None:
        await reply.whole(200, {})

    gateway.relay.script = [for_ever, quick]
    reply = await gateway.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert (await gateway.chat()).status_code == 200
