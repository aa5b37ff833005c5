"""Checks an uploaded file without holding up the event loop: a small one in a thread, others in a process.

The process is `python -m deployments.fine_tuning.checking MAX_EXAMPLES`: it reads the file from its standard input and
writes what it found as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from typing import IO

from catalog.errors import InternalError, InvalidTrainingFile
from catalog.jobs import Form
from catalog.project import PROJECT
from router.examples import MAX_LINE_BYTES, Examples, check_examples

# Starlette keeps no more than this in memory; a thread parses it within some tens of milliseconds.
SMALL_BYTES = 1024 * 1024


async def check_file(file: IO[bytes], num_bytes: int, max_examples: int) -> Examples:
    """What `check_examples` finds in a file, read from its beginning. Raises what that raises."""
    file.seek(0)
    if num_bytes <= SMALL_BYTES:
        return await asyncio.to_thread(check_examples, bounded_lines(file), max_examples)
    return await _in_process(file, max_examples)


def bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; of one that is too long only the beginning, which is still too long."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 1)
            if len(line) <= MAX_LINE_BYTES:
                break


async def _in_process(file: IO[bytes], max_examples: int) -> Examples:
    file.flush()
    # The process shares the position in the file, which Python alone may have moved in its buffer only.
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(max_examples), stdin=file.fileno(), stdout=asyncio.subprocess.PIPE,
        cwd=PROJECT,
    )  # fmt: skip
    try:
        told, _ = await process.communicate()
    except BaseException:
        process.kill()
        raise
    if process.returncode != 0:
        raise InternalError("The file could not be checked; try again.")
    found = json.loads(told)
    if "error" in found:
        raise InvalidTrainingFile(found["error"], param="file")
    return Examples(Form(found["form"]), found["num_examples"])


def main() -> None:
    """Check what comes in."""
    try:
        found = check_examples(bounded_lines(sys.stdin.buffer), int(sys.argv[1]))
    except InvalidTrainingFile as error:
        print(json.dumps({"error": error.message}))
    else:
        print(json.dumps(found._asdict()))


if __name__ == "__main__":
    main()
