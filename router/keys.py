"""From the key in a request's headers to its caller."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from catalog.errors import InvalidApiKey
from catalog.keys import ANYBODY, DEFAULT_TENANT, ID_PATTERN, ApiKeySettings, Caller

MIN_KEY_CHARS = 16
# Longer than any key; a header of megabytes is not worth hashing.
MAX_KEY_CHARS = 512


class Keyring:
    """Every key that is accepted. With none of them everybody is, as `ANYBODY`."""

    def __init__(self, keys: Iterable[ApiKeySettings] = ()) -> None:
        # A dictionary's look-up takes longer for some keys than for others. What is looked up is therefore hashed with
        # a secret of this process, so that the time tells a caller nothing about any key.
        self._salt = secrets.token_bytes(32)
        self._keys: dict[bytes, tuple[bytes, Caller]] = {}
        for key in keys:
            digest = bytes.fromhex(key.sha256)
            self._keys[self._salted(digest)] = digest, key.caller()

    def __bool__(self) -> bool:
        return bool(self._keys)

    def caller(self, authorization: bytes | None, x_api_key: bytes | None = None) -> Caller:
        """Who sends a request with these headers: `Authorization: Bearer KEY`, or Anthropic's `x-api-key: KEY`.

        Raises InvalidApiKey.
        """
        if not self._keys:
            return ANYBODY
        key = _presented(authorization, x_api_key)
        digest = hashlib.sha256(key).digest()
        known, caller = self._keys.get(self._salted(digest), (b"", ANYBODY))
        if not hmac.compare_digest(known, digest):
            raise InvalidApiKey("The API key is not valid. Ask the operator of this service for one.")
        return caller

    def _salted(self, digest: bytes) -> bytes:
        return hmac.digest(self._salt, digest, "sha256")


def _presented(authorization: bytes | None, x_api_key: bytes | None) -> bytes:
    key = x_api_key
    if authorization is not None:
        scheme, _, key = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise InvalidApiKey("Send the API key as `Authorization: Bearer KEY`.")
    if not key or not key.strip():
        raise InvalidApiKey("This service needs an API key: send it as `Authorization: Bearer KEY`.")
    if len(key) > MAX_KEY_CHARS:
        raise InvalidApiKey("The API key is not valid. Ask the operator of this service for one.")
    return key.strip()


def keys_from_text(text: str, *, admin: bool, variable: str) -> tuple[ApiKeySettings, ...]:
    """The keys of an environment variable: `KEY` or `TENANT:KEY`, separated by commas.

    Raises ValueError that names the variable and the place of the bad key, and never the key.
    """
    keys = []
    for index, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
        tenant, separator, key = entry.partition(":")
        if not separator:
            tenant, key = DEFAULT_TENANT, entry
        if not MIN_KEY_CHARS <= len(key) <= MAX_KEY_CHARS:
            raise ValueError(f"{variable}: key {index} must have from {MIN_KEY_CHARS} to {MAX_KEY_CHARS} characters")
        keys.append(_key(f"{'admin' if admin else 'env'}-{index}", tenant, key, admin, f"{variable}: key {index}"))
    return tuple(keys)


def _key(id_: str, tenant: str, key: str, admin: bool, where: str) -> ApiKeySettings:
    try:
        return ApiKeySettings(id=id_, sha256=hash_key(key), tenant=tenant, admin=admin)
    except ValueError:
        raise ValueError(f"{where} has a bad tenant before its ':': it must match {ID_PATTERN}") from None


def hash_key(key: str) -> str:
    """What a configuration holds of a key. A plain hash suffices where nobody can try the keys, as with `new_key`."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """A new key: 256 random bits, recognisable to secret scanners by its beginning."""
    return f"rmx-{secrets.token_urlsafe(32)}"
