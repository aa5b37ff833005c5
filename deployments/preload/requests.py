"""Takes a launcher's request for a worker, and refuses the one for which the pool has imported the wrong thing."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Mapping

from deployments.preload.launcher import MAX_REQUEST_BYTES, receive
from deployments.preload.worker import Request

# Variables that some library reads as it is imported; a worker that wants others of them is not for this pool.
READ_AT_IMPORT = (
    "CUDA_", "HF_", "HUGGINGFACE_", "KMP_", "LD_", "MALLOC_", "MKL_", "NCCL_", "OMP_", "OPENBLAS_", "PYTHON",
    "PYTORCH_", "TOKENIZERS_", "TORCH", "TRANSFORMERS_", "VLLM_",
)  # fmt: skip
SET_IN_A_WORKER = frozenset({"PYTHONPATH"})
# A launcher sends its request at once; one that does not must not hold up the others for long.
REQUEST_TIMEOUT_S = 5.0


def receive_request(asker: socket.socket, environment: Mapping[str, str]) -> tuple[Request, list[int]]:
    """Greet the asker, and take its request and its three descriptors.

    Raises OSError or ValueError for a request that is bad or must be refused.
    """
    asker.settimeout(REQUEST_TIMEOUT_S)
    uid = struct.unpack("3i", asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    if uid != os.geteuid():
        raise ValueError("another user")
    asker.sendall(b"+")
    head, output, *_ = socket.recv_fds(asker, 4, 3)
    try:
        request = parse(_receive_body(asker, head, len(output)))
        if odd := differing(request["environment"], environment):
            print(f"raymux: a worker has other values of {odd}, so it imports by itself", file=sys.stderr, flush=True)
            asker.sendall(b"-")
            raise ValueError("another environment")
        return request, output
    except (OSError, ValueError):
        for descriptor in output:
            os.close(descriptor)
        raise


def _receive_body(asker: socket.socket, head: bytes, num_descriptors: int) -> bytes:
    length = int.from_bytes(head, "big")
    if len(head) != 4 or num_descriptors != 3 or length > MAX_REQUEST_BYTES:
        raise ValueError("no request")
    body = receive(asker, length)
    if len(body) < length:
        raise ValueError("half a request")
    return body


def parse(body: bytes) -> Request:
    """A request as `launcher.ask` writes it. Raises ValueError for anything else."""
    match json.loads(body):
        case {"arguments": [str(), *_], "environment": dict(), "folder": str(), "dies_with_pool": bool()} as request:
            return request
    raise ValueError("no request")


def differing(wanted: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """Names of the variables for which a worker would have imported something else than the pool has."""
    return sorted(
        name
        for name in wanted.keys() | own.keys()
        if name.startswith(READ_AT_IMPORT) and name not in SET_IN_A_WORKER and wanted.get(name) != own.get(name)
    )
