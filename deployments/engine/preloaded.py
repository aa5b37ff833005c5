"""What the fork server imports, and only it: all that vLLM's engine core and workers need."""

from __future__ import annotations

from deployments.engine import fork_server

fork_server.use()

import setproctitle  # noqa: E402
import vllm.v1.engine.core  # noqa: E402
import vllm.v1.executor.multiproc_executor  # noqa: E402
import vllm.v1.worker.cpu_worker  # noqa: E402, F401

# Finds where the title is while the environment is still what the process began with; a later change would hide it.
setproctitle.getproctitle()
