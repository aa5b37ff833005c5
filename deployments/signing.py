"""Signatures of webhooks, incoming and outgoing, as Standard Webhooks has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook


def signer(secret: str) -> Webhook:
    """Signs and verifies with a secret: `whsec_` and base64, or any other text. Raises ValueError for no secret."""
    try:
        return Webhook(secret if secret.startswith("whsec_") else secret.encode())
    except (ValueError, EmptyWebhookSecretError):
        raise ValueError("not a secret that webhooks can be signed with") from None


def is_secret(secret: str) -> bool:
    """Whether webhooks can be signed with it."""
    try:
        signer(secret)
    except ValueError:
        return False
    return True


def signed_headers(id: str, body: str, secrets: Sequence[str], now_s: float) -> dict[str, str]:
    """The headers that prove an event's origin, with a signature by each secret."""
    at = datetime.fromtimestamp(int(now_s), UTC)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(now_s)),
        "webhook-signature": " ".join(signer(secret).sign(id, at, body) for secret in secrets),
    }
