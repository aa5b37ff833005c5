"""The curve of a job's loss, from its events."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.jobs import JobEvent

MAX_POINTS = 120

Point = tuple[int, float | None, float | None]


def curve_of(events: Iterable[JobEvent]) -> tuple[Point, ...]:
    """Step, loss and validation loss of each step that has told one, at most so many.

    A training that has gone back to a checkpoint tells some steps a second time, which count.
    """
    points: dict[int, Point] = {}
    for event in events:
        step = event.data.get("step")
        if event.type != "metrics" or not isinstance(step, int):
            continue
        _, loss, validation_loss = points.get(step, (step, None, None))
        points[step] = (step, event.data.get("loss", loss), event.data.get("validation_loss", validation_loss))
    found = [points[step] for step in sorted(points)]
    every = -(-len(found) // MAX_POINTS) or 1
    # Counted from the last one, which must not be missing; a validation loss is rare, and stays.
    return tuple(
        point for index, point in enumerate(found) if (len(found) - 1 - index) % every == 0 or point[2] is not None
    )[-2 * MAX_POINTS :]
