"""Waits for the first replica of a start, and keeps asking Serve for one meanwhile."""

from __future__ import annotations

import asyncio
import logging
from typing import NoReturn

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from catalog.catalog import VariantSpec
from catalog.errors import ModelFailed, RaymuxError
from catalog.replicas import ReplicaReport, ReplicaState
from deployments.manager.serve_control import ServeControl

logger = logging.getLogger("ray.serve")

STATUS_INTERVAL_S = 2.0
WAKE_INTERVAL_S = 2.0


class Arrivals:
    """What happens to one start: replicas that became ready or failed, or why nobody need wait for it any more."""

    def __init__(self, control: ServeControl) -> None:
        self._control = control
        self._news: asyncio.Queue[ReplicaReport | RaymuxError] = asyncio.Queue()

    def put(self, news: ReplicaReport | RaymuxError) -> None:
        """Tell of one; it is kept for whoever comes to wait."""
        self._news.put_nowait(news)

    async def first(self, spec: VariantSpec) -> ReplicaReport:
        """Wake the variant's application and wait. Raises what was put, or ModelFailed with the reason."""
        wake = asyncio.create_task(self._keep_waking(spec))
        refused = asyncio.create_task(self._refused(spec))
        arrival = asyncio.create_task(self._news.get())
        try:
            await asyncio.wait({wake, refused, arrival}, return_when=asyncio.FIRST_COMPLETED)
            if arrival.done():
                news = arrival.result()
                if isinstance(news, RaymuxError):
                    raise news
                if news.state is ReplicaState.FAILED:
                    raise ModelFailed(news.reason)
                return news
            if wake.done():
                wake.result()
            raise ModelFailed(refused.result())
        finally:
            for task in (wake, refused, arrival):
                task.cancel()

    async def _keep_waking(self, spec: VariantSpec) -> NoReturn:
        """Again and again: a replica may die under the call, or leave before it has reported."""
        while True:
            try:
                await self._control.wake(spec)
            except (RayError, RayServeException) as error:
                logger.warning("waking %s broke off: %s", spec.key, type(error).__name__)
            await asyncio.sleep(WAKE_INTERVAL_S)

    async def _refused(self, spec: VariantSpec) -> str:
        """Returns, with the reason, only when Serve has given the application up."""
        while True:
            await asyncio.sleep(STATUS_INTERVAL_S)
            try:
                reason = await self._control.deploy_failure(spec.app_name)
            except RayError as error:
                logger.warning("Serve does not tell the state of %s: %s", spec.key, type(error).__name__)
                continue
            if reason is not None:
                return reason
