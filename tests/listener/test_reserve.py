"""Room on the disk that is kept: taken whole or not at all, and given back."""

from pathlib import Path

from listener.reserve import Reserve

_BYTES = 100_000


def test_the_room_is_taken_once_and_given_back(tmp_path: Path) -> None:
    reserve, path = Reserve(tmp_path / "x.reserve", _BYTES), tmp_path / "x.reserve"
    for _ in range(2):
        assert reserve.take()
        assert path.stat().st_size == _BYTES
        assert path.stat().st_blocks * 512 >= _BYTES
    reserve.release()
    assert not path.exists()
    reserve.release()


def test_where_there_is_not_so_much_nothing_is_taken(disk: Path) -> None:
    path = disk / "x.reserve"
    assert not Reserve(path, 2**40).take()
    assert not path.exists()
    assert Reserve(path, _BYTES).take()
