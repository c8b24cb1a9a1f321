"""The layouts: which shares are stored together, and what of them has expired."""

import time

import pytest

from tapfan.batch import Batch
from tapfan.blocks import Block, Key, unpack
from tapfan.wire import packed_batch
from tests.writers.resp import commands_of
from tests.writers.storer import ROUTER, TTL_S, Start, has_stored, share, shares
from writers.layouts import BlockLayout, RecordLayout, Share
from writers.storing import StoredShare

_TTL_MS = round(TTL_S * 1000)


def _share(number: int, batch: Batch, ttl_ms: int = _TTL_MS) -> Share:
    return Share(ROUTER, number, ttl_ms, packed_batch(batch))


def _block(data: bytes) -> tuple[Key, Block, int]:
    """The one command's key, block and expiry."""
    ((name, key, value, option, expiry_ms),) = commands_of(data)
    assert (name, option) == (b"SET", b"PXAT")
    return Key.read(key), unpack(key, value), int(expiry_ms)


@pytest.mark.parametrize("sizes", [[5], [1, 1], [3, 1, 4]])
def test_shares_are_one_block_that_lives_as_long_as_its_last_record(sizes: list[int]) -> None:
    starts = [sum(sizes[:at]) * 2 for at in range(len(sizes))]  # with gaps: other writers have what lies between
    some = [_share(at, share(start, size)) for at, (start, size) in enumerate(zip(starts, sizes, strict=True))]
    packed = BlockLayout(0.02).packed(some)
    key, block, expiry_ms = _block(bytes(packed.commands.data))
    assert packed.expired == [0] * len(sizes)
    assert packed.commands.count == 1
    assert [(span.first, span.count) for span in block.spans] == list(zip(starts, sizes, strict=True))
    assert block.ttl_ms == _TTL_MS
    assert expiry_ms == key.last_ns // 1_000_000 + _TTL_MS


def test_a_share_that_is_over_is_in_no_block() -> None:
    some = [_share(0, share(0, 2, TTL_S + 1)), _share(1, share(2, 3)), _share(2, share(5, 4, TTL_S + 1))]
    packed = BlockLayout(0.02).packed(some)
    _, block, _ = _block(bytes(packed.commands.data))
    assert packed.expired == [2, 0, 4]
    assert packed.commands.expired == 6
    assert [(span.first, span.count) for span in block.spans] == [(2, 3)]


@pytest.mark.parametrize("layout", [BlockLayout(0.02), RecordLayout()])
def test_of_what_is_all_over_there_is_no_command(layout: BlockLayout | RecordLayout) -> None:
    packed = layout.packed([_share(0, share(0, 3, TTL_S + 1))])
    assert (packed.commands.count, packed.commands.expired, packed.expired) == (0, 3, [3])


def test_each_share_lives_as_long_as_it_says() -> None:
    for layout in (BlockLayout(0.02), RecordLayout()):
        packed = layout.packed([_share(0, share(0, 1, age_s=50), ttl_ms=60_000)])
        ((*_, expiry_ms),) = commands_of(bytes(packed.commands.data))
        assert 8_000 < int(expiry_ms) - time.time() * 1000 <= 10_000


@pytest.mark.parametrize(("linger_s", "hold_s"), [(0.001, 0.059), (0.02, 0.04), (0.05, 0.01), (0.06, 0), (0.5, 0)])
def test_what_has_waited_for_others_already_is_held_for_a_shorter_while(linger_s: float, hold_s: float) -> None:
    assert BlockLayout(linger_s).hold_s == pytest.approx(hold_s)


def test_small_shares_that_come_within_a_short_while_are_one_block(start: Start) -> None:
    storer = start(layout="block")
    storer.redis.may_go_on.clear()
    storer.add(ROUTER, 0, share(0, 2000))  # is stored at once, and holds up the others
    assert storer.redis.called.wait(20)
    for number in range(1, 6):
        storer.add(ROUTER, number, share(number * 3000, number))
    storer.redis.may_go_on.set()
    said = storer.until(has_stored(6))
    assert shares(said) == [StoredShare(ROUTER, 0, 2000, 0), *(StoredShare(ROUTER, n, n, 0) for n in range(1, 6))]
    assert [len(block.spans) for block in storer.redis.blocks] == [1, 5]


def test_shares_of_another_time_to_live_are_not_in_one_block(start: Start) -> None:
    storer = start(layout="block")
    for number, ttl_ms in enumerate([_TTL_MS, _TTL_MS, 60_000, 60_000, _TTL_MS]):
        storer.storing.add(_share(number, share(number, 1), ttl_ms))
    storer.until(has_stored(5))
    assert [(block.ttl_ms, len(block.spans)) for block in storer.redis.blocks] == [
        *((_TTL_MS, 2), (60_000, 2), (_TTL_MS, 1)),
    ]


def test_of_a_block_that_fails_the_shares_that_are_not_wanted_any_more_are_left_out(start: Start) -> None:
    storer = start("", "OOM", layout="block")
    storer.redis.then = lambda: storer.storing.want(ROUTER, 2) if storer.redis.calls[-1] == "set" else None
    for number in range(4):
        storer.add(ROUTER, number, share(number, 1))
    assert shares(storer.until(has_stored(2))) == [StoredShare(ROUTER, 2, 1, 0), StoredShare(ROUTER, 3, 1, 0)]
    assert [[span.first for span in block.spans] for block in storer.redis.blocks] == [[2, 3]]
