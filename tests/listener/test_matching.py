"""Records matched with endpoints: the same as one by one, in a loop."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.decode.matching import Matching
from tapfan.batch import Records
from tapfan.endpoints import IPV4_MAPPED_PREFIX, Endpoint, Only, packed
from tests.listener import strategies
from tests.listener.tagged import is_sent_to

Sent = tuple[bytes, int, int]  # destination, port, flags

_ADDRESSES = [packed(address) for address in (*strategies.ADDRESSES4, *strategies.ADDRESSES6, "0.0.0.0", "::")]
_ENDPOINTS = st.lists(strategies.ENDPOINTS, max_size=12)
_ONLY: st.SearchStrategy[Only] = st.sampled_from(("all", "syn"))
_SENT = st.tuples(
    st.one_of(st.sampled_from(_ADDRESSES), st.binary(min_size=16, max_size=16)),
    st.one_of(st.sampled_from(strategies.PORTS), st.integers(0, 65_535)),
    st.integers(0, 255),
)


def _records(sent: Sequence[Sent]) -> Records:
    records = Records.empty(len(sent))
    for i, (destination, port, flags) in enumerate(sent):
        records.destination[i] = np.frombuffer(destination, np.uint8)
        records.destination_port[i] = port
        records.flags[i] = flags
    return records


def _expected(sent: Sequence[Sent], endpoints: Sequence[Endpoint], only: Only) -> list[bool]:
    return [
        (only == "all" or flags & 0x12 == 0x02)
        and any(
            is_sent_to(4 if destination.startswith(IPV4_MAPPED_PREFIX) else 6, destination, port, endpoint)
            for endpoint in endpoints
        )
        for destination, port, flags in sent
    ]


@given(_ENDPOINTS, _ONLY, st.lists(_SENT, max_size=30))
def test_a_record_is_wanted_exactly_when_it_was_sent_to_an_endpoint(
    endpoints: list[Endpoint], only: Only, sent: list[Sent]
) -> None:
    wanted = Matching(endpoints, only).wanted(_records(sent))
    assert (wanted.dtype, wanted.shape) == (np.dtype(bool), (len(sent),))
    assert wanted.tolist() == _expected(sent, endpoints, only)


@given(_ENDPOINTS, _ONLY, _SENT, st.lists(_SENT, min_size=1, max_size=10), st.booleans(), st.booleans())
def test_columns_with_one_value_for_all_are_as_good(
    endpoints: list[Endpoint], only: Only, common: Sent, sent: list[Sent], one_port: bool, all_flags: bool
) -> None:
    destination, common_port, common_flags = common
    sent = [
        (destination, common_port if one_port else port, common_flags if all_flags else flags)
        for _, port, flags in sent
    ]
    records, n = _records(sent), len(sent)
    columns = {name: getattr(records, name) for name in ("timestamp", "source", "source_port", "segments")}
    shared = Records(
        **columns,
        destination=np.broadcast_to(records.destination[:1], (n, 16)),
        destination_port=np.broadcast_to(records.destination_port[:1], n) if one_port else records.destination_port,
        flags=np.broadcast_to(records.flags[:1], n) if all_flags else records.flags,
    )
    wanted = Matching(endpoints, only).wanted(shared)
    assert wanted.shape == (n,)
    assert wanted.tolist() == _expected(sent, endpoints, only)


@pytest.mark.parametrize("kinds", [["80"], ["*"], ["80", "443", "*", "9000"]])
def test_among_a_thousand_endpoints_each_finds_its_own(kinds: list[str]) -> None:
    numbers = random.Random(5)
    halves = [f"{numbers.getrandbits(16):x}" for _ in range(8)]  # few, so that parts of addresses meet
    addresses = [f"10.{i % 7}.{i % 11}.{i % 250}" for i in range(500)]
    addresses += [f"[2001:db8::{numbers.choice(halves)}:{numbers.choice(halves)}:{i % 90:x}]" for i in range(500)]
    endpoints = [Endpoint.parse(f"{address}:{kinds[i % len(kinds)]}") for i, address in enumerate(addresses)]
    near = [endpoint.packed[:15] + bytes([endpoint.packed[15] ^ 1]) for endpoint in endpoints]
    sent = [
        (destination, numbers.choice((80, 443, 9000)), 2)
        for destination in (*near, *(endpoint.packed for endpoint in endpoints))
    ]
    assert Matching(endpoints).wanted(_records(sent)).tolist() == _expected(sent, endpoints, "all")


def test_every_address_is_that_of_its_family() -> None:
    sent = [(packed(address), 9000, 2) for address in ("192.0.2.1", "2001:db8::1")]
    for endpoint, expected in (("0.0.0.0:*", [True, False]), ("[::]:9000", [False, True]), ("[::]:1", [False, False])):
        assert Matching([Endpoint.parse(endpoint)]).wanted(_records(sent)).tolist() == expected
