"""`python -m benchmarks.bare --port N`: the emulated engine's own server in one process, without Ray and raymux."""

from __future__ import annotations

import argparse
import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from catalog.models import EmulatedEngine
from deployments.engine.emulator import EmulatedEngineServer


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-interval-ms", type=float, default=5.0)
    options = parser.parse_args(arguments)
    engine = EmulatedEngineServer(EmulatedEngine(token_interval_ms=options.token_interval_ms), "emulated")
    asyncio.run(engine.start(lambda step: None))
    # Gateways that others make ask it, as they would ask vLLM's server.
    assert isinstance(engine.app, Starlette)
    engine.app.router.routes.append(Route("/health", lambda _: Response()))
    uvicorn.run(
        engine.app, host="127.0.0.1", port=options.port, loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="warning", timeout_keep_alive=75,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
