"""Single values from outside: what is valid is used, and what is not is refused and shown short."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan import values
from tapfan.values import MAX_WEIGHT, MIN_WEIGHT, shown, weight, zmq_endpoint


@pytest.mark.parametrize("bad", ["", "nan", "inf", "-1", "30%", "1e10", None, True, [30], {}, math.nan, 10**400])
def test_what_is_no_weight_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="must be a finite number from 0 to 1000000000"):
        weight(bad)


@pytest.mark.parametrize("bad", [5e-324, "5e-324", 1e-10, "0.0000000009"])
def test_a_weight_that_is_next_to_nothing_is_refused(bad: float | str) -> None:
    with pytest.raises(ValueError, match="must be 0, or at least 1e-09"):
        weight(bad)


@given(st.one_of(st.integers(0, MAX_WEIGHT), st.floats(MIN_WEIGHT, MAX_WEIGHT)))
def test_a_weight_is_the_same_as_a_number_and_as_text(value: float) -> None:
    assert weight(value) == weight(str(value)) == value


_LOCAL = ["tcp://127.0.0.1:7001", "tcp://127.5.5.5:1", "tcp://[::1]:7001", "ipc:///run/a.ipc"]
_EVERY = ["tcp://0.0.0.0:7001", "tcp://*:7001", "tcp://[::]:7001"]
_NAMES = ["tcp://localhost:7001", "tcp://router.example:1", "tcp://r:65535", "tcp://my_router-2.lan.:7001"]
_OTHERS = ["tcp://192.0.2.1:7001", "tcp://[2001:db8::1]:7001", *_EVERY, *_NAMES]


@pytest.mark.parametrize("good", [*_LOCAL, *_OTHERS])
def test_an_endpoint_is_taken_and_it_is_known_who_gets_there(good: str) -> None:
    assert zmq_endpoint(good) == good
    assert values.is_local(good) == (good in _LOCAL)
    assert values.is_every_address(good) == (good in _EVERY)
    assert values.is_host_name(good) == (good in _NAMES)


@pytest.mark.parametrize(
    "bad",
    [
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:99999",
        "tcp://127.0.0.1:7001/x",
        "tcp://127.0.0.1:7001?x",
        "tcp://127.0.0.1:7001#x",
        "tcp://user@127.0.0.1:7001",
        "tcp://[::1:7001",
        "tcp://300.1.1.1:7001",
        "tcp://127.1:7001",
        "tcp://2130706433:7001",
        "tcp://-router:7001",
        "tcp://a..b:7001",
        "tcp://a b:7001",
        "tcp://ä:7001",
        "tcp://*.example:7001",
        f"tcp://{'a.' * 127}b:7001",
        "tcp://eth0;10.0.0.1:7001",
        "tcp://:7001",
        "pgm://127.0.0.1:7001",
        "inproc://router",
        "ipc://",
        "ipc://relative",
        "127.0.0.1:7001",
        "",
        7001,
        None,
    ],
)
def test_what_is_no_endpoint_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"must be ipc:///path or tcp://host:port, such as tcp://127\.0\.0\.1:7201"):
        zmq_endpoint(bad)


def test_a_bad_value_is_shown_short_however_large_or_deep() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) <= 60
    assert len(shown("x" * 1_000_000)) <= 60
    assert shown(300) == "300"
