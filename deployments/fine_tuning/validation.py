"""Checks a job's files against its model: the last thing before it is queued."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from catalog.catalog import VariantSpec
from catalog.errors import ContextLengthExceeded, InvalidTrainingFile, StoreUnavailable
from catalog.jobs import TrainingFile
from catalog.sources import SourceNotFound, SourceUnavailable
from deployments.fine_tuning.token_check import Counted, count_tokens

logger = logging.getLogger("ray.serve")

TIMEOUT_S = 1_800.0
PARAMS = ("training_file", "validation_file")


async def validate_files(spec: VariantSpec, files: Sequence[TrainingFile]) -> int:
    """The longest example that the model takes, tokens, when each example of the files is at most that.

    In a Ray task, since counting takes the processor for as long as the files are long. Raises InvalidTrainingFile or
    ContextLengthExceeded, with lines, SourceNotFound, or StoreUnavailable where it could not be done.
    """
    locations = [(file.location, str(file.form)) for file in files]
    task = ray.remote(count_tokens).options(num_cpus=0, max_retries=1)
    call = task.remote(spec.source, spec.engine.max_model_len, locations, spec.source_cache)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            counted: Counted = await call
    except (RayError, OSError, TimeoutError) as error:
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, SourceNotFound) and not isinstance(cause, SourceUnavailable):
            raise cause from None
        logger.error("files of a fine-tuning job could not be checked: %r", error)
        raise StoreUnavailable("The files or the model's tokenizer could not be read.", retry_after_s=10) from None
    for index, problem in counted.problems:
        error_type = ContextLengthExceeded if counted.is_too_long else InvalidTrainingFile
        raise error_type(f"The file does not fit the model: {problem}.", param=PARAMS[index])
    return counted.max_tokens
