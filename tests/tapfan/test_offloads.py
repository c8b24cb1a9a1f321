"""Which interfaces merge received segments: as the kernel tells, and as `tapfan check` says it."""

import fcntl
import socket
import struct
from array import array
from collections.abc import Iterator

import pytest

from tapfan import offloads
from tapfan.cli.checks import check
from tapfan.offloads import Offloads, of_captured, read
from tapfan.settings import load
from tapfan.values import ALL_INTERFACES
from tests.process.conftest import space as namespaced
from tests.process.namespace import Namespace
from tests.tapfan.conftest import WRITERS, Configure

_SIOCETHTOOL = 0x8946
_SET_GRO = 0x2C

space = namespaced


@pytest.fixture
def interface(space: Namespace) -> Iterator[str]:
    """An interface of this host whose GRO can be set."""
    before = read(space.outside)
    assert before is not None
    yield space.outside
    _set_gro(space.outside, before.gro)


def _set_gro(interface: str, on: bool) -> None:
    value = array("I", [_SET_GRO, on])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), value.buffer_info()[0]))


@pytest.mark.parametrize("on", [True, False])
def test_gro_is_read_as_it_is_set(interface: str, on: bool) -> None:
    _set_gro(interface, on)
    assert read(interface) == Offloads(gro=on, lro=False)


@pytest.mark.parametrize("on", [True, False])
def test_check_tells_of_an_interface_that_merges(
    interface: str, space: Namespace, configure: Configure, on: bool
) -> None:
    _set_gro(interface, on)
    listen = f"{space.address.removesuffix('2')}1:9000"
    result = check(load(configure(f'[listener]\nsource = "capture"\nlisten = ["{listen}"]\n{WRITERS}')))
    told = (
        f"{interface}: GRO is on: a record may stand for several merged segments (its field `segments` says how many)"
    )
    assert result["interfaces"] == {interface: {"gro": on, "lro": False}}
    assert (told in result["notes"]) == on
    assert result["problems"] == []


def test_nothing_is_said_where_nothing_is_captured(configure: Configure) -> None:
    result = check(load(configure(f'[listener]\nsource = "accept"\n{WRITERS}')))
    assert result["interfaces"] == {}


@pytest.mark.parametrize("name", ["tapfan-none", "", "x" * 20])
def test_an_interface_that_is_not_there_tells_nothing(name: str) -> None:
    assert read(name) is None


@pytest.mark.parametrize(
    ("gro", "flags", "found"),
    [
        (1, 1 << 15, Offloads(gro=True, lro=True)),
        (0, 1 << 15 | 1 << 14, Offloads(gro=False, lro=True)),
        (0, 1 << 14, Offloads(gro=False, lro=False)),
        (1, None, Offloads(gro=True, lro=False)),
        (None, 1 << 15, Offloads(gro=False, lro=True)),
        (None, None, None),
    ],
)
def test_lro_is_one_of_the_flags(
    monkeypatch: pytest.MonkeyPatch, gro: int | None, flags: int | None, found: Offloads | None
) -> None:
    monkeypatch.setattr(offloads, "_value", lambda _, command: {0x2B: gro, 0x25: flags}[command])
    assert read("eth0") == found


def test_every_interface_but_loopback_is_asked_for_a_wildcard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (3, "tun0")])
    told = {"lo": Offloads(True, False), "eth0": Offloads(True, True), "tun0": None}
    monkeypatch.setattr(offloads, "read", told.get)
    assert of_captured([ALL_INTERFACES]) == {"eth0": Offloads(True, True)}
    assert of_captured(["lo", "tun0"]) == {}


@pytest.mark.parametrize(
    ("found", "told"),
    [(Offloads(True, True), "eth0: GRO and LRO are on: "), (Offloads(False, True), "eth0: LRO is on: ")],
)
def test_check_names_what_is_on(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, found: Offloads, told: str
) -> None:
    monkeypatch.setattr(offloads, "of_captured", lambda _: {"eth0": found})
    monkeypatch.setattr("tapfan.cli.checks._may_capture", lambda: True)
    result = check(load(configure(f'[listener]\nsource = "capture"\n{WRITERS}')))
    (note,) = [note for note in result["notes"] if "merged segments" in note]
    assert note.startswith(told)
    assert result["interfaces"] == {"eth0": {"gro": found.gro, "lro": found.lro}}
