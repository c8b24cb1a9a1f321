"""How long records live: what the control channel says, for what comes in from then on."""

from typing import Any

import pytest

from router.house import House
from tapfan.control import ControlError
from tapfan.wire import read_shares, unpack
from tests.router.housing import TTL_MS, a_house, change, take_down, with_a_stream
from tests.router.sharing import STREAM, a_batch


def _ttls(house: House, writer: str) -> list[int]:
    """Of all the shares that a writer is still to be sent."""
    lane, found = house.writers[writer].lane, []
    while message := lane.next_unsent():
        found += [share.ttl_ms for share in read_shares(unpack(message))[2]]
        lane.mark_sent()
    return found


def test_it_is_the_configured_one_until_it_is_changed() -> None:
    told = a_house().view()
    assert (told["ttl"], told["configured_ttl"]) == (TTL_MS / 1000, TTL_MS / 1000)


@pytest.mark.parametrize(("given", "ttl_s"), [("10m", 600), (1, 1), (2.5, 2.5), ("31d", 31 * 86_400), ("1500ms", 1.5)])
def test_a_change_is_in_force_for_what_comes_in_later_only(given: Any, ttl_s: float) -> None:
    house = with_a_stream(a=1)
    house.take_batch(a_batch(0, 3))
    told = change(house, "ttl", ttl=given)
    assert (told["ttl"], told["configured_ttl"], told["version"]) == (ttl_s, TTL_MS / 1000, 2)
    house.take_batch(a_batch(3, 3))
    assert _ttls(house, "a") == [TTL_MS, round(ttl_s * 1000)]
    assert house.listeners[STREAM].acknowledgement(house.ttl_ms).ttl_ms == round(ttl_s * 1000)


def test_what_goes_to_another_writer_lives_as_long_as_it_was_to() -> None:
    house = with_a_stream(a=1, b=1)
    house.take_batch(a_batch(0, 1000))
    change(house, "ttl", ttl="10m")
    take_down(house, "a")
    assert set(_ttls(house, "b")) == {TTL_MS}


@pytest.mark.parametrize(
    "given",
    ["", "5 minutes", 0, 0.5, -1, float("nan"), float("inf"), "32d", None, True, [], {}, 10**400, "9" * 400 + "s"],
)
def test_a_bad_one_is_refused_and_changes_nothing(given: Any) -> None:
    house = a_house()
    with pytest.raises(ControlError, match=r"^ttl .* must be") as caught:
        change(house, "ttl", ttl=given)
    assert caught.value.code == "bad_ttl"
    assert (house.ttl_ms, house.intent.version, len(house.history)) == (TTL_MS, 1, 0)


def test_other_arguments_are_refused() -> None:
    with pytest.raises(ControlError, match="ttl takes"):
        change(a_house(), "ttl", ttl="5m", writer="a")
