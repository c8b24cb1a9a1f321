"""What a watch knows of the router."""

import math

from tapfan.cli.watch.picture import Picture
from tests.tapfan.statuses import listener, status, writer
from tests.tapfan.views import entry, view


def test_it_is_stale_when_three_snapshots_have_not_come() -> None:
    picture = Picture()
    assert math.isinf(picture.age_s(5.0))
    assert not picture.is_stale(5.0), "there is nothing that could be"
    picture.take_status(status(), 10.0)
    assert not picture.is_stale(12.9)
    assert picture.is_stale(13.1)
    picture.take_status(status(), 14.0)
    assert not picture.is_stale(14.0)


def test_a_status_ends_the_problem() -> None:
    picture = Picture()
    picture.problem = "no reply"
    picture.take_status(status(), 1.0)
    assert picture.problem == ""


def test_our_own_change_shows_at_once_and_what_is_older_does_not_come_back() -> None:
    picture = Picture()
    picture.take_status(status(version=7), 1.0)
    picture.take_view(view(version=8, states={"a": "drain", "b": "ready"}), 1.1)
    assert picture.version == 8
    assert [picture.writers["a"][key] for key in ("weight", "state", "share")] == [50.0, "drain", 0.5]
    picture.take_status(status(version=7), 1.2)
    assert picture.version == 8, "that snapshot was on its way"
    picture.take_status(status(version=9), 1.3)
    assert picture.version == 9


def test_a_router_that_has_forgotten_our_change_is_believed_after_a_while() -> None:
    picture = Picture()
    picture.take_status(status(version=7), 1.0)
    picture.take_view(view(version=8), 1.1)
    picture.take_status(status(version=1), 5.0)
    assert picture.version == 1


def test_an_answer_that_is_older_than_the_picture_changes_nothing() -> None:
    picture = Picture()
    picture.take_status(status(version=9), 1.0)
    picture.take_view(view(version=8), 1.1)
    assert (picture.version, picture.writers["a"]["weight"]) == (9, 30.0)


def test_entries_come_once_whichever_way_they_come() -> None:
    first, second = (entry("weights", ("a", "weight", 1.0, 2.0), version=number) for number in (2, 3))
    picture = Picture()
    picture.take_entry(first)
    picture.take_entry(second)
    picture.take_history([second, first])
    picture.take_entry(second)
    assert picture.entries == [second, first]
    for number in range(4, 300):
        picture.take_entry(entry("weights", version=number))
    assert (len(picture.entries), picture.entries[0]["version"]) == (100, 299)


def test_it_notices_that_entries_were_missed() -> None:
    picture = Picture()
    assert not picture.misses_entries
    changed = entry("weights", version=3)
    picture.take_status(status(changed=changed), 1.0)
    assert picture.misses_entries
    picture.take_entry(changed)
    assert not picture.misses_entries


def _counted(captured: int, drops: int) -> dict[str, object]:
    return status(listeners={"local": listener(captured=captured, kernel_drops=drops)})


def test_a_listeners_rate_is_over_the_last_ten_seconds() -> None:
    picture = Picture()
    picture.take_status(_counted(0, 100), 0.0)
    assert picture.listener_rates("local") == (None, 0)
    for second in range(1, 21):
        picture.take_status(_counted(max(0, second - 10) * 500, 100 + max(0, second - 15)), float(second))
    assert picture.listener_rates("local") == (500.0, 5)
    assert picture.listener_rates("another") == (None, 0)


def test_of_statuses_that_came_at_one_time_there_is_no_rate() -> None:
    picture = Picture()
    for captured in (0, 500):
        picture.take_status(_counted(captured, 0), 5.0)
        assert picture.listener_rates("local") == (None, 0)
    picture.take_status(_counted(1500, 0), 6.0)
    assert picture.listener_rates("local") == (1500.0, 0)


def test_a_router_that_counts_anew_gives_no_negative_rate() -> None:
    picture = Picture()
    picture.take_status(_counted(1000, 10), 0.0)
    picture.take_status(_counted(10, 0), 1.0)
    assert picture.listener_rates("local") == (None, 0)
    picture.take_status(_counted(110, 0), 2.0)
    assert picture.listener_rates("local") == (100.0, 0)


def test_what_a_redis_said_is_made_printable_as_it_comes() -> None:
    picture = Picture(ascii_only=True)
    bad = writer(reason="\x1b]0;owned\x07", warnings=["\x9b2J", "ключ"])
    picture.take_status(status(writers={"a": bad}), 1.0)
    picture.take_history([entry("weights", reason="\x1b[2J", by="анна")])
    picture.take_entry(entry("weights", reason="\r\nfake", key="\x07"))
    told = [picture.writers["a"]["reason"], *picture.writers["a"]["warnings"]]
    told += [str(each[key]) for each in picture.entries for key in ("reason", "by", "key")]
    assert all(text.isprintable() and text.isascii() for text in told)
