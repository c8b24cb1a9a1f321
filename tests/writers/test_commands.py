"""A share as Redis commands: byte for byte what a loop over its records would write, and what Redis would read."""

import ipaddress
import json
import re
from typing import Any

import hiredis
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.bounds import MAX_TIMESTAMP_NS
from tapfan.endpoints import packed
from tests.tapfan.strategies import batches
from writers.commands import Commands, pack

_MAPPED = bytes(10) + b"\xff\xff"
_NS_A_MS = 1_000_000
_LATEST_EXPIRY_MS = 10**13 - 1  # 13 digits, until the year 2286
_KEY_FORM = re.compile(
    r"tcp:(?P<src>[^>]+)>(?P<dst>.+):(?P<ts>\d{19})-(?P<stream>[^.]+\.[0-9a-f]{8})\.(?P<at>[0-9a-f]{12})"
)
_NOW_NS = 1_760_000_000_123_456_789
_ttls_ms = st.integers(1000, 31 * 86_400_000)


def _address(column: bytes) -> str:
    return str(ipaddress.ip_address(column[12:] if column[:12] == _MAPPED else column))


def _flags(flags: int) -> str:
    return "".join(letter for bit, letter in enumerate("FSRPAUEC") if flags & 2**bit)


def _expiry_ms(timestamp_ns: int, ttl_ms: int) -> int:
    return min(timestamp_ns // _NS_A_MS + ttl_ms, _LATEST_EXPIRY_MS)


def _resp(*arguments: str) -> bytes:
    parts = [f"*{len(arguments)}\r\n", *(f"${len(argument)}\r\n{argument}\r\n" for argument in arguments)]
    return "".join(parts).encode()


def _expected(share: Batch, ttl_ms: int, now_ms: int) -> list[bytes]:
    """The command of each record that lives, one after the other."""
    commands = []
    for at in range(len(share)):
        record = share.records[at : at + 1]
        timestamp_ns = int(record.timestamp[0])
        source, destination = (_address(column[0].tobytes()) for column in (record.source, record.destination))
        expiry_ms = _expiry_ms(timestamp_ns, ttl_ms)
        key = f"tcp:{source}>{destination}:{timestamp_ns}-{share.stream}.{share.first + at:012x}"
        value = (
            f'{{"ts":{timestamp_ns // 10**9}.{timestamp_ns % 10**9:09}'
            f',"src":"{source}","sport":{record.source_port[0]},"dst":"{destination}","dport":{record.destination_port[0]}'
            f',"flags":"{_flags(int(record.flags[0]))}","segments":{record.segments[0]}}}'
        )
        if expiry_ms > now_ms:
            commands.append(_resp("SET", key, value, "PXAT", str(expiry_ms)))
    return commands


def _parsed(commands: Commands) -> list[list[str]]:
    """The commands as Redis reads them."""
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(bytes(commands.data))
    parsed = []
    while (command := reader.gets()) is not False:
        parsed.append(command)
    assert not reader.has_data()
    return parsed


def _records(count: int = 3, **given_columns: Any) -> Records:
    """Records as they come from a listener in a local network; columns can be given, as lists."""
    columns = {
        "timestamp": [_NOW_NS + at for at in range(count)],
        "source": [list(packed("203.0.113.7"))] * count,
        "destination": [list(packed("198.51.100.2"))] * count,
        "source_port": [40_000 + at for at in range(count)],
        "destination_port": [443] * count,
        "flags": [2] * count,
        "segments": [1] * count,
    } | given_columns
    return Records(*(np.array(columns[name], dtype) for name, (dtype, _) in COLUMNS.items()))


def _share(count: int = 3, **given_columns: Any) -> Batch:
    return Batch("local.0a1b2c3d", 0xABC, _records(count, **given_columns))


@given(batches(), _ttls_ms, st.data())
def test_the_commands_are_those_of_a_loop_over_the_records(share: Batch, ttl_ms: int, data: st.DataObject) -> None:
    """Some, all or none have expired; columns are arrays, strided or constant, addresses of any kind."""
    expiries_ms = [_expiry_ms(timestamp_ns, ttl_ms) for timestamp_ns in share.records.timestamp.tolist()]
    now_ms = data.draw(st.one_of(st.just(0), st.sampled_from(expiries_ms))) + data.draw(st.integers(-1, 1))
    expected = _expected(share, ttl_ms, max(now_ms, 0))
    commands = pack(share, ttl_ms, max(now_ms, 0))
    assert bytes(commands.data) == b"".join(expected)
    assert (commands.count, commands.expired) == (len(expected), len(share) - len(expected))


@given(batches(max_count=20), _ttls_ms)
def test_redis_reads_one_set_of_valid_json_for_each_record(share: Batch, ttl_ms: int) -> None:
    commands = _parsed(pack(share, ttl_ms, 0))
    assert len(commands) == len(share)
    records = share.records
    for at, (name, key, value, option, expiry) in enumerate(commands):
        timestamp_ns = int(records.timestamp[at])
        assert (name, option, expiry) == ("SET", "PXAT", str(_expiry_ms(timestamp_ns, ttl_ms)))
        source, destination = (_address(column[at].tobytes()) for column in (records.source, records.destination))
        assert json.loads(value, parse_float=str) == {
            "ts": f"{timestamp_ns // 10**9}.{timestamp_ns % 10**9:09}",
            "src": source,
            "sport": records.source_port[at],
            "dst": destination,
            "dport": records.destination_port[at],
            "flags": _flags(int(records.flags[at])),
            "segments": records.segments[at],
        }
        parts = _KEY_FORM.fullmatch(key)
        assert parts is not None
        assert parts.groupdict() == {
            "src": source,
            "dst": destination,
            "ts": str(timestamp_ns),
            "stream": share.stream,
            "at": f"{share.first + at:012x}",
        }


@given(batches(max_count=20), st.booleans())
@example(_share(1), False)
def test_columns_of_one_value_give_the_same_bytes_as_columns_of_many_equal_ones(share: Batch, reverse: bool) -> None:
    """The short ways for what all records have in common are only shorter."""
    first = share.records[:1]
    count = len(share)
    constant = Records(
        *(np.broadcast_to(getattr(first, name)[0], getattr(share.records, name).shape) for name in COLUMNS)
    )
    written_out = Records(*(np.ascontiguousarray(getattr(constant, name)) for name in COLUMNS))
    one_by_one = [bytes(pack(Batch(share.stream, share.first + at, first), 300_000, 0).data) for at in range(count)]
    for records in (constant, written_out)[:: -1 if reverse else 1]:
        assert bytes(pack(Batch(share.stream, share.first, records), 300_000, 0).data) == b"".join(one_by_one)


@pytest.mark.parametrize(
    ("sources", "destinations"),
    [
        (["192.0.2.1", "203.0.113.77", "9.9.9.9"], ["198.51.100.2"] * 3),
        (["2001:db8::1", "2001:db8::ffff:1", "::1"], ["2001:db8::2"] * 3),
        (["192.0.2.1", "2001:db8::1", "255.255.255.255"], ["198.51.100.2", "fe80::1", "198.51.100.2"]),
        (["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::", "0.0.0.0"], ["::"] * 3),
    ],
    ids=["IPv4", "IPv6", "mixed", "longest and shortest"],
)
def test_addresses_of_both_kinds_stand_in_key_and_value(sources: list[str], destinations: list[str]) -> None:
    source, destination = ([list(packed(address)) for address in column] for column in (sources, destinations))
    commands = _parsed(pack(_share(source=source, destination=destination), 300_000, 0))
    for at, (_, key, value, *_) in enumerate(commands):
        assert key.startswith(f"tcp:{sources[at]}>{destinations[at]}:{_NOW_NS + at}-")
        assert (json.loads(value)["src"], json.loads(value)["dst"]) == (sources[at], destinations[at])


def test_a_single_record_in_full() -> None:
    commands = pack(_share(1, flags=[18], segments=[3]), 300_000, _NOW_NS // _NS_A_MS)
    assert _parsed(commands) == [
        [
            "SET",
            "tcp:203.0.113.7>198.51.100.2:1760000000123456789-local.0a1b2c3d.000000000abc",
            '{"ts":1760000000.123456789,"src":"203.0.113.7","sport":40000,"dst":"198.51.100.2","dport":443'
            ',"flags":"SA","segments":3}',
            "PXAT",
            "1760000300123",
        ]
    ]
    assert (commands.count, commands.expired) == (1, 0)


@pytest.mark.parametrize(
    ("late_ms", "living"), [(-1, 3), (0, 2), (999, 2), (1000, 1), (1999, 1), (2000, 0), (10**9, 0)]
)
def test_a_record_lives_until_its_capture_time_and_ttl_and_keeps_its_own_identity(late_ms: int, living: int) -> None:
    """The oldest is dropped first; those behind it do not move up into its number."""
    second_ns = 10**9
    share = _share(timestamp=[_NOW_NS, _NOW_NS + second_ns, _NOW_NS + 2 * second_ns])
    commands = pack(share, 5000, _NOW_NS // _NS_A_MS + 5000 + late_ms)
    assert (commands.count, commands.expired) == (living, 3 - living)
    numbers = [key.rpartition(".")[2] for _, key, *_ in _parsed(commands)]
    assert numbers == [f"{0xABC + at:012x}" for at in range(3 - living, 3)]


def test_when_all_have_expired_there_is_nothing_to_send() -> None:
    commands = pack(_share(), 1000, _NOW_NS // _NS_A_MS + 1001)
    assert (bytes(commands.data), commands.count, commands.expired) == (b"", 0, 3)


def test_a_retry_gives_the_same_commands() -> None:
    share = _share()
    assert bytes(pack(share, 300_000, 0).data) == bytes(pack(share, 300_000, 1_760_000_000_000).data)


def test_a_record_of_the_last_day_that_keys_have_room_for_does_not_expire_in_1970() -> None:
    """A listener whose clock is wrong; `tapfan.wire` lets it through."""
    latest_ns = MAX_TIMESTAMP_NS - 1
    (_, key, value, _, expiry), *_ = _parsed(pack(_share(1, timestamp=[latest_ns]), 300_000, 0))
    assert f":{latest_ns}-" in key
    assert json.loads(value, parse_float=str)["ts"] == "9999999999.999999999"
    assert int(expiry) == _LATEST_EXPIRY_MS
