"""Keys: only a known one is accepted, and no error tells anything of one."""

from __future__ import annotations

import pytest

from catalog.errors import InvalidApiKey
from catalog.keys import ANYBODY, ApiKeySettings
from router.keys import Keyring, hash_key, keys_from_text, new_key

KEY = "rmx-0123456789abcdef"


def keyring(**fields: object) -> Keyring:
    return Keyring([ApiKeySettings.model_validate({"id": "ci", "sha256": hash_key(KEY), "tenant": "acme", **fields})])


def bearer(key: str, scheme: str = "Bearer") -> bytes:
    return f"{scheme} {key}".encode()


@pytest.mark.parametrize("headers", [(bearer(KEY),), (bearer(KEY, "bearer"),), (None, KEY.encode())])
def test_a_known_key_names_its_caller(headers: tuple[bytes | None, ...]) -> None:
    caller = keyring().caller(*headers)
    assert (caller.key_id, caller.tenant, caller.is_admin) == ("ci", "acme", False)


@pytest.mark.parametrize(
    "headers",
    [
        (None,), (b"",), (b"Bearer",), (b"Bearer ",), (b"Bearer  ",), (bearer(KEY + "x"),), (bearer(KEY[:-1]),),
        (bearer(KEY.upper()),), (bearer(KEY, "Basic"),), (bearer(hash_key(KEY)),), (b"Bearer " + b"x" * 600,),
        (bearer(KEY, "Basic"), KEY.encode()), (None, b"\xff\xfe"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_without_an_echo(headers: tuple[bytes | None, ...]) -> None:
    with pytest.raises(InvalidApiKey) as caught:
        keyring().caller(*headers)
    assert caught.value.status == 401
    assert KEY[:8] not in caught.value.message
    assert caught.value.headers() == {"www-authenticate": "Bearer"}


def test_without_keys_everybody_is_accepted() -> None:
    assert not Keyring()
    assert Keyring().caller(None) is ANYBODY


@pytest.mark.parametrize(
    ("models", "name", "may"),
    [
        (["*"], "anything", True),
        (["demo-chat"], "demo-chat", True),
        (["demo-chat"], "demo-chat-2", False),
        (["demo-chat"], "Demo-Chat", False),
        (["peft:demo-chat:*"], "peft:demo-chat:job_pirate", True),
        (["peft:demo-chat:*"], "demo-chat", False),
        (["a", "b*"], "b", True),
    ],
)
def test_a_key_may_use_the_models_it_names(models: list[str], name: str, may: bool) -> None:
    assert keyring(models=models).caller(bearer(KEY)).may_use(name) is may


def test_keys_of_the_environment() -> None:
    text = f" {KEY} , acme:{KEY}2,, "
    first, second = keys_from_text(text, admin=False, variable="RAYMUX_API_KEYS")
    assert (first.id, first.tenant, first.admin) == ("env-1", "default", False)
    assert (second.id, second.tenant) == ("env-2", "acme")
    assert Keyring([second]).caller(bearer(KEY + "2")).tenant == "acme"
    assert keys_from_text("", admin=True, variable="RAYMUX_ADMIN_KEYS") == ()
    assert keys_from_text(KEY, admin=True, variable="RAYMUX_ADMIN_KEYS")[0].admin


@pytest.mark.parametrize("text", ["short", f"{KEY},short", f"no tenant!:{KEY}", "a:short-secret", "x" * 600])
def test_a_key_that_is_none_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(ValueError, match=r"^RAYMUX_API_KEYS: key [12]") as caught:
        keys_from_text(text, admin=False, variable="RAYMUX_API_KEYS")
    assert "short-secret" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_new_keys_differ_and_are_fit() -> None:
    first, second = new_key(), new_key()
    assert first != second
    assert keys_from_text(first, admin=False, variable="V")[0].sha256 == hash_key(first)
