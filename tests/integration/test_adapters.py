"""Adapters by Serve's multiplexing."""

from __future__ import annotations

import threading

from tests.integration.calls import chat, error, lines
from tests.server import RunningServer, wait_until


def held(server: RunningServer) -> set[str]:
    """The adapters that the replicas of `fast` hold."""
    return {name for replica in server.status("fast")["replicas"] for name in replica["adapters"]}


def test_adapters_load_on_demand_and_the_least_recently_used_leaves(server: RunningServer) -> None:
    for job in "abab":
        reply = chat(server, f"peft:fast:{job}")
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-raymux-model"] == f"peft:fast:{job}"
    wait_until(lambda: held(server) == {"peft:fast:a", "peft:fast:b"}, 5, "both are held")
    assert chat(server, "peft:fast:c").status_code == 200
    wait_until(lambda: held(server) == {"peft:fast:b", "peft:fast:c"}, 5, "the least recently used left")


def test_an_adapter_answers_under_its_bases_alias(server: RunningServer) -> None:
    assert chat(server, "peft:Acme/Fast-1B:a").status_code == 200


def test_a_busy_adapter_is_never_evicted(server: RunningServer) -> None:
    stream = lines(server, "peft:fast:a", max_tokens=800)
    next(stream)
    for job in "bcbc":
        assert chat(server, f"peft:fast:{job}").status_code == 200
    wait_until(lambda: "peft:fast:a" in held(server), 3, "the busy adapter is still there")
    assert list(stream)[-1] == "data: [DONE]"


def test_an_adapter_waits_when_all_others_are_busy_and_then_loads(server: RunningServer) -> None:
    streams = [lines(server, f"peft:fast:{job}", max_tokens=300) for job in "ab"]
    for stream in streams:
        next(stream)
    replies: list[int] = []
    waiting = threading.Thread(target=lambda: replies.append(chat(server, "peft:fast:c").status_code))
    waiting.start()
    assert all(list(stream)[-1] == "data: [DONE]" for stream in streams)
    waiting.join(20)
    assert replies == [200]


def test_unknown_adapters_are_not_found_and_nothing_is_looked_up_by_path(server: RunningServer) -> None:
    for name in ("peft:fast:nope", "peft:fast:../a", "peft:nope:a", "peft:fast:a/../b"):
        reply = chat(server, name)
        assert (reply.status_code, error(reply)["code"]) == (404, "model_not_found"), name
