"""What the routes of one gateway share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from catalog.settings import GatewaySettings
from deployments.gateway.admission import Admission
from deployments.gateway.dispatch import Dispatcher
from deployments.gateway.fleet import Fleet
from deployments.gateway.limits import Limits
from router.keys import Keyring


@dataclass(frozen=True)
class Services:
    """Made once for a gateway. `settings` and `keyring` are functions, because a new configuration replaces them."""

    fleet: Fleet
    settings: Callable[[], GatewaySettings]
    keyring: Callable[[], Keyring]
    limits: Limits
    admission: Admission
    dispatcher: Dispatcher
