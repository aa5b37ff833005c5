from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from catalog.schedules import WarmupSchedule
from tests.unit.builders import CHAT, PIRATE, catalog_settings

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(**changes: Any) -> WarmupSchedule:
    fields = {"model": CHAT, "cron": "0 8 * * mon-fri", "timezone": "Europe/Berlin", "keep_warm_s": 3600}
    return WarmupSchedule.model_validate({**fields, **changes})


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("now", "begun"),
    [
        ("2026-11-27T07:59:59", None),
        ("2026-11-27T08:00:00", "2026-11-27T08:00:00"),
        ("2026-11-27T08:59:59", "2026-11-27T08:00:00"),
        ("2026-11-27T09:00:00", None),
        ("2026-11-28T08:30:00", None),
        # Summer time began on the 29th.
        ("2026-03-30T08:10:00", "2026-03-30T08:00:00"),
    ],
)
def test_a_window_opens_on_time_and_closes_after_it(now: str, begun: str | None) -> None:
    window = schedule().window(at(now))
    assert (window and window.begun_s) == (at(begun) if begun else None)
    if window is not None:
        assert window.until_s == window.begun_s + 3600


def test_a_window_has_one_id_for_as_long_as_it_is_open_and_another_the_next_day() -> None:
    friday, later, monday = (
        schedule().window(at(text)) for text in ("2026-11-27T08:00:00", "2026-11-27T08:40:00", "2026-11-30T08:00:00")
    )
    assert friday is not None
    assert monday is not None
    assert friday == later
    assert friday.id != monday.id
    assert schedule(keep_warm_s=7200).window(at("2026-11-27T08:00:00")) != friday


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cron": "every morning"}, "no cron expression"),
        ({"cron": "61 * * * *"}, "no cron expression"),
        ({"cron": "0 0 30 2 *"}, "no cron expression"),
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"keep_warm_s": 0}, "greater than or equal"),
        ({"keep_warm_s": float("inf")}, "less than or equal|finite"),
        ({"gpu_preference": ["h100"]}, "a shape is"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        schedule(**changes)


def test_a_schedule_names_a_model_and_shapes_that_the_catalog_has() -> None:
    plain = {"cron": "0 8 * * *", "keep_warm_s": 60}
    assert catalog_settings(warmups=[{"model": PIRATE, "gpu_preference": ["H100:4"], **plain}]).warmups
    with pytest.raises(ValidationError, match=r"warmups\.0\.model: no model is named nobody"):
        catalog_settings(warmups=[{"model": "nobody", **plain}])
    with pytest.raises(ValidationError, match=r"warmups\.0\.gpu_preference: .* has no variant A10G"):
        catalog_settings(warmups=[{"model": CHAT, "gpu_preference": ["A10G"], **plain}])
