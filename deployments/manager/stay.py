"""For how long a variant's replicas stay, by what keeps them and by what its past days make likely."""

from __future__ import annotations

from deployments.manager.habits import Habits
from deployments.manager.keeper import VariantKeeper
from deployments.manager.view import StayTerms
from deployments.manager.warmups import Warmups

# A replica whose requests are expected is held this much beyond each of its reports.
EXPECTED_HOLD_S = 10.0


def stay_terms(keeper: VariantKeeper, warmups: Warmups, habits: Habits, now_s: float) -> StayTerms:
    """What a replica of the variant is told with each of its reports."""
    spec, start_s = keeper.spec, keeper.expected_start_s
    held_until_s = warmups.held_until_s(spec.key)
    if habits.is_expected(spec, start_s, now_s, is_warm=True):
        held_until_s = max(held_until_s, now_s + EXPECTED_HOLD_S)
    return StayTerms(held_until_s, habits.idle_timeout_s(spec, start_s))
