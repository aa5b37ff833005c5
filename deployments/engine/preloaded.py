"""What the fork server imports, and only it: all that vLLM's engine core and workers need."""

from __future__ import annotations

import setproctitle
import vllm.v1.engine.core
import vllm.v1.executor.multiproc_executor
import vllm.v1.executor.uniproc_executor
import vllm.v1.worker.cpu_worker  # noqa: F401

# Finds where the title is while the environment is still what the process began with; a later change would hide it.
setproctitle.getproctitle()
