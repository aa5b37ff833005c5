from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import StoreUnavailable, TrainingFileNotFound
from catalog.jobs import Form, TrainingFile
from deployments.fine_tuning.storage import put
from deployments.gateway import files as files_module
from deployments.gateway.files import MAX_FORM_BYTES
from tests.unit.builders import Client, catalog_settings, http_scope, until
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

LINE = json.dumps({"prompt": "1+1=", "completion": "2"}).encode() + b"\n"
MAX_BYTES = 4_000_000


@pytest.fixture
async def tuning(gateway: GatewayUnderTest, tmp_path: Path) -> GatewayUnderTest:
    """A gateway whose configuration takes files, into a folder of the test's own."""
    settings = {"files": str(tmp_path / "files"), "max_file_bytes": MAX_BYTES, "max_examples": 200_000}
    gateway.manager.configure(catalog_settings(fine_tuning=settings))
    await gateway.publish()
    gateway.manager.answers["fine_tuning"] = file()
    return gateway


def file(**changes: Any) -> TrainingFile:
    fields: dict[str, Any] = {
        "id": "file-1", "tenant": "default", "filename": "a.jsonl", "num_bytes": 10, "num_examples": 1,
        "form": Form.CHAT, "location": "/nowhere", "created_s": 5.0,
    }  # fmt: skip
    return TrainingFile(**{**fields, **changes})


async def upload(gateway: GatewayUnderTest, content: bytes = LINE, purpose: str = "fine-tune", **options: Any) -> Any:
    name = options.pop("name", "my examples.jsonl")
    return await gateway.post("/v1/files", files={"file": (name, content)}, data={"purpose": purpose}, **options)


def stored(folder: Path) -> list[Path]:
    return list((folder / "files").glob("*"))


@pytest.mark.parametrize("num_lines", [2, 60_000])
async def test_a_file_is_checked_stored_and_told_to_the_manager(
    tuning: GatewayUnderTest, tmp_path: Path, num_lines: int
) -> None:
    """A large one is checked in a process of its own."""
    reply = await upload(tuning, LINE * num_lines, name="../../etc/my examples.jsonl")
    assert (reply.status_code, reply.json()["object"], reply.json()["purpose"]) == (200, "file", "fine-tune")
    (_, expected, told), kept = tuning.manager.calls
    assert (expected, told.location) == ("expect_file", str(stored(tmp_path)[0]))
    assert kept == ("fine_tuning", "keep_file", told.tenant, told.id)
    assert (told.filename, told.num_examples, told.form) == ("my examples.jsonl", num_lines, Form.COMPLETION)
    assert (told.num_bytes, stored(tmp_path)[0].read_bytes()) == (len(LINE) * num_lines, LINE * num_lines)


@pytest.mark.parametrize("num_lines", [2, 60_000])
async def test_what_is_wrong_in_a_file_is_told_by_its_lines_and_nothing_is_stored(
    tuning: GatewayUnderTest, tmp_path: Path, num_lines: int
) -> None:
    error = (await upload(tuning, LINE * num_lines + b"{")).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_training_file", "file")
    assert f"line {num_lines + 1}: is not valid JSON" in error["message"]
    assert (stored(tmp_path), tuning.manager.calls) == ([], [])


@pytest.mark.parametrize(
    ("options", "status", "param"),
    [
        ({"data": {"purpose": "batch"}, "files": {"file": LINE}}, 400, "purpose"),
        ({"data": {}, "files": {"file": LINE}}, 400, "purpose"),
        ({"data": {"purpose": "fine-tune", "file": "text"}, "files": {"other": LINE}}, 400, "file"),
        ({"files": [("file", LINE), ("file", LINE)]}, 400, None),
        ({"files": {"file": LINE}, "data": {str(number): "x" for number in range(20)}}, 400, None),
        ({"data": {"purpose": "x" * 2 * MAX_FORM_BYTES}, "files": {"file": LINE}}, 400, None),
        ({"json": {"file": "x"}}, 415, None),
        ({"content": b"rubbish", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, None),
        ({"content": b"rubbish", "headers": {"content-type": "multipart/form-data"}}, 400, None),
        ({"data": {"purpose": "fine-tune"}, "files": {"file": b"x" * (MAX_BYTES + 1)}}, 413, "file"),
        ({"data": {"purpose": "fine-tune"}, "files": {"file": b"x" * 2 * MAX_BYTES}}, 413, "file"),
    ],
)
async def test_a_form_that_is_none_is_refused(
    tuning: GatewayUnderTest, tmp_path: Path, options: dict[str, Any], status: int, param: str | None
) -> None:
    reply = await tuning.post("/v1/files", **options)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)
    assert (stored(tmp_path), tuning.manager.calls) == ([], [])


async def test_a_stream_that_is_too_long_is_refused_before_it_is_read(tuning: GatewayUnderTest) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    client = Client(head, *[b"x" * 1_000_000] * 6, b"\r\n--x--\r\n")
    sent = await tuning.call(http_scope(path="/v1/files", content_type="multipart/form-data; boundary=x"), client)
    assert sent.status == 413
    assert client._messages, "the rest was not read"


async def test_a_client_that_leaves_leaves_nothing_behind(tuning: GatewayUnderTest, tmp_path: Path) -> None:
    client = Client(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + LINE)
    client._messages[0]["more_body"] = True
    client.leave()
    sent = await tuning.call(http_scope(path="/v1/files", content_type="multipart/form-data; boundary=x"), client)
    assert (sent.messages, stored(tmp_path), tuning.manager.calls) == ([], [], [])


async def test_nothing_is_stored_that_the_manager_does_not_know_of(tuning: GatewayUnderTest, tmp_path: Path) -> None:
    tuning.manager.refusal = StoreUnavailable("no")
    assert (await upload(tuning)).status_code == 503
    assert stored(tmp_path) == []


async def test_a_file_that_the_manager_cannot_keep_is_to_be_deleted(
    tuning: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_and_lose_the_store(*arguments: Any) -> None:
        put(*arguments)
        tuning.manager.refusal = StoreUnavailable("no")

    monkeypatch.setattr(files_module, "put", put_and_lose_the_store)
    assert (await upload(tuning)).status_code == 503
    await until(lambda: len(tuning.manager.calls) == 3)
    assert [call[1] for call in tuning.manager.calls] == ["expect_file", "keep_file", "delete_file"]


async def test_a_place_that_cannot_be_written_is_told(tuning: GatewayUnderTest, tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file where the folder should be")
    reply = await upload(tuning)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_unavailable")
    assert str(tmp_path) not in reply.text
    await until(lambda: tuning.manager.calls[-1][1] == "delete_file")


async def test_a_list_is_in_the_wanted_order_and_pages(tuning: GatewayUnderTest) -> None:
    def answers() -> list[TrainingFile]:
        return [file(id=f"file-{number}", created_s=float(number)) for number in range(5)]

    async def ids(query: str) -> list[str]:
        tuning.manager.answers["fine_tuning"] = answers()
        reply = (await tuning.get(f"/files{query}")).json()
        return [each["id"] for each in reply["data"]]

    assert await ids("") == ["file-4", "file-3", "file-2", "file-1", "file-0"]
    assert await ids("?order=asc&limit=2") == ["file-0", "file-1"]
    assert await ids("?order=asc&limit=2&after=file-1") == ["file-2", "file-3"]
    assert await ids("?purpose=batch") == []
    for query in ("?limit=0", "?limit=x", "?limit=99999999999", "?order=up", "?after=nobody"):
        tuning.manager.answers["fine_tuning"] = answers()
        assert (await tuning.get(f"/v1/files{query}")).status_code == 400, query


async def test_a_file_is_shown_read_and_deleted(tuning: GatewayUnderTest, tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(LINE)
    tuning.manager.answers["fine_tuning"] = file(location=str(tmp_path / "content"), num_bytes=len(LINE))
    assert (await tuning.get("/v1/files/file-1")).json()["filename"] == "a.jsonl"
    assert (await tuning.get("/v1/files/file-1/content")).content == LINE
    reply = await tuning.request("DELETE", "/v1/files/file-1")
    assert reply.json() == {"id": "file-1", "object": "file", "deleted": True}
    assert [call[1:] for call in tuning.manager.calls] == [
        ("file", "default", "file-1"), ("file", "default", "file-1"), ("delete_file", "default", "file-1"),
    ]  # fmt: skip


async def test_an_unknown_file_is_not_found(tuning: GatewayUnderTest) -> None:
    tuning.manager.refusal = TrainingFileNotFound("No file has this id.")
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert (await tuning.request(method, f"/v1/files/nobody{path}")).status_code == 404


async def test_a_file_that_is_gone_from_its_place_is_told(tuning: GatewayUnderTest) -> None:
    assert (await tuning.get("/v1/files/file-1/content")).json()["error"]["code"] == "store_unavailable"


async def test_without_the_setting_the_error_says_how_to_turn_it_on(gateway: GatewayUnderTest) -> None:
    for reply in (await upload(gateway), await gateway.get("/v1/files"), await gateway.get("/v1/files/x/content")):
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "permission_denied")
        assert "fine_tuning: {}" in reply.json()["error"]["message"]
