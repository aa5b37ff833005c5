"""Values and fakes that several unit tests start from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any

from autoscaling.choice import Reason
from catalog.catalog import AdapterSpec, Catalog, Target, VariantSpec
from catalog.errors import RaymuxError
from catalog.replicas import ReplicaReport, ReplicaState, VariantState, VariantStatus
from catalog.settings import CatalogSettings
from catalog.warmups import Warmup
from deployments.manager.view import FleetView, Placed, packed
from deployments.metric_families import Snapshot, exposition, update
from router.outlook import SentPrompt

CHAT = "demo-chat"
CHAT_ALIAS = "Acme/Demo-1B"
PIRATE = "peft:demo-chat:job_pirate"
CHECKPOINT = "rl:demo-chat:job_demo:checkpoint-1"
HELD_CHECKPOINT = "rl:demo-chat:job_held:checkpoint-1"
EMBEDDER = "embedder"


def catalog_dict() -> dict[str, Any]:
    """The `user_config` of a manager: a chat model on two shapes with an adapter and checkpoints, and an embedder."""
    return {
        "models": [
            {
                "name": CHAT,
                "aliases": [CHAT_ALIAS],
                "source": "models/demo-chat",
                "variants": [{"shape": "CPU"}, {"shape": "H100:4", "max_replicas": 3}],
                "engine": {"kind": "emulated"},
                "adapters": {"max_adapters_per_replica": 2, "max_rank": 8},
            },
            {
                "name": EMBEDDER,
                "source": "models/demo-chat",
                "tasks": ["embed", "score"],
                "variants": [{"shape": "CPU"}],
                "engine": {"kind": "emulated"},
            },
        ],
        "adapters": [{"name": PIRATE, "source": "models/adapters/job_pirate"}],
        "checkpoints": [
            {"name": CHECKPOINT, "source": "models/rl/job_demo/checkpoint-1"},
            {"name": HELD_CHECKPOINT, "source": "models/rl/job_held/checkpoint-1", "auto_promote": False},
        ],
    }


def catalog_settings(**changes: Any) -> CatalogSettings:
    return CatalogSettings.model_validate({**catalog_dict(), **changes})


def catalog(**changes: Any) -> Catalog:
    return Catalog(catalog_settings(**changes))


def target(name: str = CHAT) -> Target:
    found = catalog().find(name)
    assert found is not None
    return found


def variant(name: str = CHAT, shape: str = "CPU") -> VariantSpec:
    return next(each for each in target(name).variants if each.settings.shape == shape)


def adapter(name: str = PIRATE) -> AdapterSpec:
    found = target(name).adapter
    assert found is not None
    return found


def report(replica_id: str = "r1", state: ReplicaState = ReplicaState.READY, **changes: Any) -> ReplicaReport:
    """What a ready replica of the chat model's CPU variant says of itself."""
    fields: dict[str, Any] = {
        "variant": f"{CHAT}@CPU",
        "fingerprint": "f",
        "sent_at_s": 1.0,
        "address": "127.0.0.1:1",
        "secret": "the-replica-secret",
    }
    return ReplicaReport(replica_id=replica_id, state=state, **{**fields, **changes})


def status(state: VariantState = VariantState.COLD, key: str = f"{CHAT}@CPU", **changes: Any) -> VariantStatus:
    return VariantStatus(variant=key, state=state, **changes)


class Clock:
    """A clock that the test moves, by setting `now_s`."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


async def settle() -> None:
    """Let every task that can run do so; no time passes."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    """Let other tasks run until the condition holds; pytest-timeout ends what never does."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


class Sent:
    """An ASGI `send` that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def __call__(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def has_ended(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", True)


def http_scope(method: str = "POST", path: str = "/v1/chat/completions", **headers: str) -> dict[str, Any]:
    """An ASGI scope; `content_type="x"` becomes the header `content-type: x`."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }


class Client:
    """An ASGI `receive`: a body in pieces, then silence until `leave`."""

    def __init__(self, *pieces: bytes) -> None:
        self._messages = [
            {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
            for index, piece in enumerate(pieces)
        ]
        self._has_left = asyncio.Event()

    def leave(self) -> None:
        self._has_left.set()

    async def __call__(self) -> Any:
        if self._messages:
            return self._messages.pop(0)
        await self._has_left.wait()
        return {"type": "http.disconnect"}


Ensure = Callable[[tuple[str, ...], AdapterSpec | None, tuple[str, ...]], Awaitable[ReplicaReport | RaymuxError]]


class FakeManager:
    """The model manager's handle as a gateway calls it: `manager.watch.remote(...)`.

    `publish` changes what `watch` answers, and `on_ensure` is called for each `ensure`, whose
    `in_order` is kept in `orders`. `told` is what the gateway has said that it sent. `calls` lists the other verbs;
    they are answered with `refusal`, or as `answers` says.
    """

    def __init__(self, settings: CatalogSettings | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}
        self.refusal: RaymuxError | None = None
        self.is_away = False
        self.told: list[SentPrompt] = []
        self.orders: list[bool] = []
        self.on_ensure: Ensure = self._no_start
        self._version = self._catalog_version = 1
        self._settings = settings or catalog_settings()
        self._view: dict[str, Any] = {"replicas": (), "variants": (), "promoted": frozenset()}
        self._has_changed = asyncio.Event()
        self._counts: Snapshot = {}

    def configure(self, settings: CatalogSettings) -> None:
        """Another catalog; the gateway sees it with the next `publish`."""
        self._settings = settings
        self._catalog_version += 1

    def publish(
        self,
        replicas: Iterable[ReplicaReport] = (),
        variants: Iterable[VariantStatus] = (),
        promoted: Iterable[str] = (),
        warmups: Iterable[Warmup] = (),
        sent: Iterable[SentPrompt] = (),
        num_gateways: int = 1,
    ) -> None:
        self._version += 1
        self._view = {
            "replicas": tuple(replicas), "variants": tuple(variants), "promoted": frozenset(promoted),
            "warmups": tuple(warmups), "sent": tuple(sent), "num_gateways": num_gateways,
        }  # fmt: skip
        self._has_changed.set()

    def publish_news(self, replicas: Iterable[ReplicaReport], variants: Iterable[VariantStatus]) -> None:
        """Only these variants have changed, and these are all of their replicas."""
        self._version += 1
        self._view = {
            "replicas": tuple(replicas), "variants": tuple(variants), "promoted": None, "warmups": None,
            "is_whole": False,
        }  # fmt: skip
        self._has_changed.set()

    def __getattr__(self, verb: str) -> SimpleNamespace:
        if verb == "ensure":
            return SimpleNamespace(remote=self._ensure)
        if verb == "watch":
            return SimpleNamespace(remote=self._watch)
        if verb == "gateway_metrics":
            return SimpleNamespace(remote=self._gateway_metrics)
        if verb == "total_metrics" and verb not in self.answers:
            return SimpleNamespace(remote=self._total_metrics)

        async def act(*arguments: Any, **options: Any) -> Any:
            self.calls.append((verb, *arguments, *options.values()))
            return self.refusal or self.answers.get(verb)

        return SimpleNamespace(remote=act)

    async def _watch(
        self, version: int, catalog_version: int, gateway: str = "", sent: tuple[SentPrompt, ...] = ()
    ) -> FleetView:
        self.told += sent
        while version == self._version:
            self._has_changed.clear()
            await self._has_changed.wait()
        if self.is_away:
            raise ConnectionError("the manager restarts")
        is_new = catalog_version != self._catalog_version
        return FleetView(self._version, self._catalog_version, packed(self._settings) if is_new else None, **self._view)

    async def _gateway_metrics(self, gateway: str, number: int, counts: Snapshot, *, is_whole: bool) -> bool:
        """Of the only gateway."""
        self._counts = {} if is_whole else self._counts
        update(self._counts, counts)
        return True

    async def _total_metrics(self) -> bytes:
        return exposition(self._counts)

    async def _ensure(
        self, keys: tuple[str, ...], adapter: AdapterSpec | None, suspects: tuple[str, ...], *, in_order: bool
    ) -> Placed | RaymuxError:
        self.orders.append(in_order)
        outcome = await self.on_ensure(keys, adapter, suspects)
        return Placed(outcome, Reason.PLACEABLE) if isinstance(outcome, ReplicaReport) else outcome

    async def _no_start(self, *_: Any) -> ReplicaReport:
        raise AssertionError("nothing was to be started")
