"""Why records are lost: each reason is one of those that outlived their TTL, or of the others."""

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.losses import REASONS, Losses, Reason, dropped, expired

_EXPIRED: set[Reason] = {"expired_at_writer", "expired_in_spool"}


def test_all_reasons_are_known_and_each_once() -> None:
    assert get_args(Reason) == REASONS
    assert len(set(REASONS)) == len(REASONS) == 7


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_counts_as_expired_or_as_dropped(reason: Reason) -> None:
    losses: Losses = Counter({reason: 3})
    assert (expired(losses), dropped(losses)) == ((3, 0) if reason in _EXPIRED else (0, 3))


@given(st.dictionaries(st.sampled_from(REASONS), st.integers(0, 10**12)))
def test_what_is_lost_is_expired_or_dropped(counts: dict[Reason, int]) -> None:
    losses: Losses = Counter(counts)
    assert expired(losses) == sum(counts.get(reason, 0) for reason in _EXPIRED)
    assert expired(losses) + dropped(losses) == sum(counts.values())


def test_where_nothing_is_lost_both_are_0() -> None:
    assert (expired(Counter()), dropped(Counter())) == (0, 0)
