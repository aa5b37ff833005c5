"""`python -m deploy.loadtest.run --url http://127.0.0.1:8000`: a load test with Locust.

Locust runs in an environment of its own, made when first needed from `locust.txt`. Prints Locust's table, and writes
its CSV files where `--results` says. The exit status is 1 when a request failed. The key comes from RAYMUX_API_KEY.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.environments import EnvironmentFailed, isolated

HERE = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Run it; 0 when every request was answered, 1 when one was not, 2 when it could not run."""
    options = _options(arguments)
    try:
        python = isolated("locust", locks=HERE)
    except EnvironmentFailed as error:
        print(error, file=sys.stderr)
        return 2
    command = [
        python, "-m", "locust", "--locustfile", HERE / "locustfile.py", "--headless", "--only-summary",
        "--host", options.url, "--users", options.users, "--spawn-rate", options.spawn_rate,
        "--run-time", options.time, "--stop-timeout", "60",
    ]  # fmt: skip
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
        command += ["--csv", options.results / "loadtest"]
    settings = {
        "LOADTEST_CHAT_MODEL": options.chat_model,
        "LOADTEST_EMBEDDING_MODEL": options.embedding_model,
        "LOADTEST_MAX_TOKENS": str(options.max_tokens),
    }
    done = subprocess.run([str(each) for each in command], env={**os.environ, **settings})
    return min(done.returncode, 1)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.loadtest.run", description="A load test of a running raymux."
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where raymux is, without /v1")
    parser.add_argument("--users", type=int, default=32, help="clients at once, each with one request at a time")
    parser.add_argument("--spawn-rate", type=float, default=16, help="new clients a second at the beginning")
    parser.add_argument("--time", default="60s", help="how long, for example 90s or 10m")
    parser.add_argument("--chat-model", default="", help="by default the gateway's default")
    parser.add_argument("--embedding-model", default="", help="by default the gateway's default")
    parser.add_argument("--max-tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument("--results", type=Path, help="a folder for Locust's CSV files")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
