from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raymux.cli import profile_store
from raymux.cli.connection import choose_address
from raymux.cli.errors import CliError, ExitCode
from raymux.cli.profile_store import Profile, Profiles
from raymux.client.address import DEFAULT_URL, Address
from tests.unit.raymux.cli.conftest import FakeServer, Ran

Cli = Callable[..., Ran]


@pytest.fixture
def two_profiles(profiles: Path) -> None:
    known = {"prod": Profile("https://prod", "rmx-prod"), "lab": Profile("http://lab:8000")}
    profile_store.save(Profiles(known, "prod"))


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ((None, None, None), {}, Address("https://prod", "rmx-prod")),
        ((None, None, "lab"), {}, Address("http://lab:8000", None)),
        ((None, None, None), {"RAYMUX_PROFILE": "lab"}, Address("http://lab:8000", None)),
        ((None, None, "lab"), {"RAYMUX_URL": "http://env"}, Address("http://lab:8000", None)),
        ((None, None, None), {"RAYMUX_URL": "http://env/v1"}, Address("http://env", None)),
        ((None, None, None), {"RAYMUX_URL": "http://env", "RAYMUX_API_KEY": "k"}, Address("http://env", "k")),
        ((None, "k2", None), {}, Address("https://prod", "k2")),
        (("http://flag", None, None), {"RAYMUX_API_KEY": "k"}, Address("http://flag", "k")),
        (("http://flag", None, "prod"), {}, Address("http://flag", None)),
        ((None, None, None), {"RAYMUX_API_KEY": "k"}, Address("https://prod", "rmx-prod")),
        ((None, None, "lab"), {"RAYMUX_API_KEY": "k"}, Address("http://lab:8000", "k")),
    ],
)
def test_options_then_a_named_profile_then_the_environment_then_the_profile_in_use(
    two_profiles: None,
    options: tuple[str | None, str | None, str | None],
    environment: dict[str, str],
    expected: Address,
) -> None:
    assert choose_address(*options, environment) == expected


def test_without_anything_it_is_the_server_on_this_machine() -> None:
    assert choose_address(None, None, None, {}) == Address(DEFAULT_URL, None)


def test_a_profile_that_is_not_there_is_a_wrong_call(two_profiles: None) -> None:
    with pytest.raises(CliError, match=r"no profile is named 'x' \(prod, lab\)") as caught:
        choose_address(None, None, "x", {})
    assert caught.value.code is ExitCode.USAGE


def test_profiles_are_added_used_listed_and_removed(cli: Cli, server: FakeServer, profiles: Path) -> None:
    cli("profile", "add", "one", "--url", "host:1/v1", "--api-key", "rmx-one")
    cli("profile", "add", "two", "--url", "https://two", "--api-key", "")
    assert cli("profile", "use", "two").out == "two is in use: https://two.\n"
    listed = cli("profile", "list")
    assert "rmx-one" not in listed.out
    assert [line.split() for line in listed.out.splitlines()[1:]] == [
        ["one", "http://host:1", "yes"], ["*", "two", "https://two", "no"],
    ]  # fmt: skip
    server.on("GET /v1/models", {"object": "list", "data": []})
    cli("models", "list", "--profile", "one")
    assert server.headers[0]["authorization"] == "Bearer rmx-one"
    assert server.headers[0]["host"] == "host:1"
    assert cli("profile", "remove", "two").status == 0
    assert cli("profile", "use", "two").status == ExitCode.USAGE
    assert json.loads(profiles.read_text())["current"] is None


def test_only_the_owner_can_read_the_file_however_it_was_before(cli: Cli, profiles: Path) -> None:
    profiles.parent.mkdir()
    profiles.write_text('{"profiles": {}, "current": null}')
    profiles.chmod(0o644)
    cli("profile", "add", "one", "--url", "http://host", "--api-key", "rmx-one")
    assert profiles.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in profiles.parent.iterdir()] == ["profiles.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"profiles": 3, "current": null}', '{"profiles": {"a": {"key": 1}}}'])
def test_a_file_that_cannot_be_read_is_said_so_and_left_alone(cli: Cli, profiles: Path, text: str) -> None:
    profiles.parent.mkdir()
    profiles.write_text(text)
    for words in (["profile", "list"], ["profile", "add", "a", "--url", "http://h", "--api-key", "k"], ["status"]):
        ran = cli(*words)
        assert ran.status in (ExitCode.FAILED, ExitCode.USAGE)
        assert "mend or remove it" in ran.err
    assert profiles.read_text() == text
