"""Requests that were applied: so many of them are known, each by its own id and digest, and more are not kept."""

import re

from hypothesis import given
from hypothesis import strategies as st

from router.repeats import MAX_CHARACTERS, MAX_REMEMBERED, PATTERN, Record, Repeats

_texts = st.text(max_size=64)
_requests = st.tuples(_texts, _texts, st.integers(1, 2**40 - 1))


@given(st.lists(_requests, max_size=300, unique_by=lambda request: request[0]), _texts)
def test_each_is_known_by_its_id_and_no_other_is_and_all_come_back_from_text(
    requests: list[tuple[str, str, int]], other: str
) -> None:
    repeats = Repeats()
    for request in requests:
        before = repeats.text
        longer = repeats.extend([Record.of(*request)])
        assert repeats.text == before, "the one that it was added to is as it was"
        repeats = longer
    together = Repeats().extend(Record.of(*request) for request in requests)
    assert together.text == repeats.text
    read = Repeats(repeats.text)
    assert (read.text, len(read), len(repeats)) == (repeats.text, len(requests), len(requests))
    assert re.fullmatch(PATTERN, repeats.text)
    for known in (repeats, read):
        for request_id, digest, version in requests:
            applied = known.find(request_id)
            assert applied is not None
            assert (applied.version, applied.is_same(digest), applied.is_same(digest + "x")) == (version, True, False)
        assert (known.find(other) is not None) == (other in {request_id for request_id, _, _ in requests})


def test_the_last_ones_are_known_as_many_as_are_promised_and_not_many_more() -> None:
    repeats = Repeats()
    for number in range(2 * MAX_REMEMBERED):
        repeats = repeats.extend([Record.of(f"id {number}", "digest", number)])
        assert len(repeats) >= min(number + 1, MAX_REMEMBERED)
        assert number < MAX_REMEMBERED or repeats.find(f"id {number - MAX_REMEMBERED + 1}")
    assert repeats.find("id 0") is None
    assert len(repeats.text) <= MAX_CHARACTERS
    again = Repeats(repeats.text)
    for number in range(1000):
        again = again.extend([Record.of(f"later {number}", "digest", number)])
        assert len(again) >= MAX_REMEMBERED
        assert len(again.text) <= MAX_CHARACTERS
