"""What there must be when all has come to rest: everything that was captured, and a ledger that says so."""

from collections import defaultdict

from tests.process.running import Programs, wait_for
from tests.process.stored import identities


def share_of(programs: Programs, writer: str) -> float:
    """A writer's effective share."""
    share: float = programs.status()["writers"][writer]["share"]
    return share


def wait_for_more(programs: Programs) -> None:
    """Wait until the load has come through to the Redis servers again."""
    stored_before = programs.status()["ledger"]["stored"]
    wait_for(lambda: programs.status()["ledger"]["stored"] > stored_before + 200, "more is stored")


def assert_nothing_lost(programs: Programs, untracked: bool = False) -> None:
    """Everything that the listener numbered is in Redis, and the ledger says the same.

    `untracked`: router and listener were killed at once, so that the ledger may have missed some.
    """
    assert programs.stop("listener") == 0  # which sees to it that all is stored
    ledger = programs.wait_settled(1)["ledger"]
    assert ledger["spooled"] == 0
    found = identities(programs)
    by_stream: defaultdict[str, list[int]] = defaultdict(list)
    for stream, number in sorted(found):
        by_stream[stream].append(number)
    for numbers in by_stream.values():
        assert numbers == list(range(len(numbers)))
    if not untracked:
        assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (len(found), len(found), {})
    else:
        assert ledger["captured"] <= len(found)
