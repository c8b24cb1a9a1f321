"""Packets of every kind on real interfaces: tags, tunnels, fragments, merged segments; all are accounted for."""

import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.conftest import KERNEL_HAS_NO
from tests.listener import frames, tunnels
from tests.process.conftest import StartPrograms
from tests.process.namespace import SET_GRO, SET_TSO, Namespace, namespace
from tests.process.running import Programs, wait_for
from tests.process.stored import Stored, stored
from tests.process.traffic import Sending, connections, inject, segments_out, unacknowledged

_PORT = 9000
_ENOUGH = 2 * 2**20  # the smallest ring
_INSIDE, _INSIDE6 = "10.214.0.2", "fd00:214::2"  # of what is inside of tags and tunnels
_FAMILIES = [socket.AF_INET, socket.AF_INET6]


@pytest.fixture
def own(space: Namespace) -> Iterator[Namespace]:  # noqa: ARG001 (it skips where there may be none)
    """A namespace for one test, which changes it."""
    with namespace() as made:
        yield made


def _started(start: StartPrograms, space: Namespace, **listener: Any) -> Programs:
    listen = [f"{space.address}:{_PORT}", f"[{space.address6}]:{_PORT}"]
    return start(listener={"listen": listen, "source": "capture"} | listener, netns=space.name)


def _packets(programs: Programs) -> dict[str, Any]:
    packets: dict[str, Any] = programs.status()["listeners"]["local"]["packets"]
    return packets


def _wait_accounted(programs: Programs, seen: int) -> dict[str, Any]:
    """What became of the packets, once so many were seen and none is unread."""

    def accounted() -> dict[str, Any] | None:
        packets = _packets(programs)
        assert packets["unread"] >= 0
        return packets if packets["seen"] >= seen and packets["unread"] == 0 else None

    packets = wait_for(accounted, f"{seen} packets are accounted for, but {_packets(programs)}")
    skipped = sum(packets["skipped"].values())
    assert packets["seen"] == packets["records"] + packets["kernel_drops"] + skipped == seen
    return packets


def _large_transfer(programs: Programs, address: str) -> list[Stored]:
    """The records of a connection that sends much, once they are of as many segments as the sender counted."""
    with socket.create_connection((address, _PORT), timeout=20) as client:
        client.sendall(b"x" * 300_000)
        wait_for(lambda: unacknowledged(client) == 0, "the other end has all bytes")
        return _wait_recorded(programs, segments_out(client))


def _wait_recorded(programs: Programs, sent: int) -> list[Stored]:
    def recorded() -> list[Stored] | None:
        found = stored(programs)
        count = sum(record.value["segments"] for record in found)
        assert count <= sent, f"{count} segments are recorded, and {sent} were sent"
        return found if count == sent else None

    return wait_for(recorded, f"{sent} segments are recorded, but {_packets(programs)}")


@pytest.mark.parametrize("tags", [[0x8100], [0x88A8, 0x8100], [0x8100, 0x8100], [0x88A8, 0x8100, 0x8100]])
def test_tagged_packets_are_recorded_once_on_the_interface_that_carries_them(
    start: StartPrograms, space: Namespace, tags: list[int]
) -> None:
    programs = _started(start, space, interface=space.inside, serve="none")
    segments = [frames.tcp(40_000 + number, _PORT) for number in range(100)]
    sent = [frames.ipv4(segment, destination=space.address) for segment in segments]
    sent += [frames.ipv6(segment, destination=space.address6) for segment in segments]
    inject(space.outside, [_tagged(packet, tags) for packet in sent])
    _wait_recorded(programs, 200)
    _wait_accounted(programs, 200)
    found = sorted((record.destination, record.value["sport"]) for record in stored(programs))
    assert found == [(to, 40_000 + number) for to in (space.address, space.address6) for number in range(100)]


def _tagged(packet: bytes, tags: Sequence[int]) -> bytes:
    """The packet in a frame as it is on the wire, with all of its tags."""
    kind = frames.ETH_IPV6 if packet[0] >> 4 == 6 else frames.ETH_IPV4
    inline = b"".join(struct.pack(">HH", tag, number) for number, tag in enumerate(tags, 5))
    return b"\x02" * 6 + b"\x04" * 6 + inline + struct.pack(">H", kind) + packet


@pytest.mark.parametrize("protocols", [["802.1Q"], ["802.1ad", "802.1Q"]])
@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize("address", [_INSIDE, _INSIDE6])
def test_every_segment_through_a_vlan_device_is_recorded_once(
    start: StartPrograms, own: Namespace, protocols: list[str], on_device: bool, address: str
) -> None:
    """Whether captured on the device or on the interface that carries it; a device on a device: QinQ."""
    device = _add_vlans(own, protocols)
    programs = start(
        listener={
            "listen": [f"{_INSIDE}:{_PORT}", f"[{_INSIDE6}]:{_PORT}"],
            "source": "capture",
            "interface": device if on_device else own.inside,
        },
        netns=own.name,
    )
    found = _large_transfer(programs, address)
    assert {record.destination for record in found} == {address}


def _add_vlans(own: Namespace, protocols: Sequence[str]) -> str:
    """Devices on the pair, each on the one before; gives the name of the last one, inside."""
    upper = {own.outside: own.outside, own.inside: own.inside}
    for level, protocol in enumerate(protocols):
        for end, lower in upper.items():
            device = f"{end}{level}"
            command = f"link add link {lower} name {device} type vlan proto {protocol} id {5 + level}"
            try:
                _ip(own, end, command)
            except subprocess.CalledProcessError:
                pytest.skip(f"{KERNEL_HAS_NO} VLAN devices")
            _ip(own, end, f"link set {device} up")
            upper[end] = device
    _address(own, upper[own.outside], upper[own.inside])
    return upper[own.inside]


def _ip(own: Namespace, end: str, command: str) -> None:
    """Run a command of `ip` on the side of one of the pair's ends."""
    if end.startswith(own.inside):
        own.ip(command)
    else:
        subprocess.run(["ip", *command.split()], check=True)


def _address(own: Namespace, outside: str, inside: str) -> None:
    """Give a pair of devices the addresses of what is inside, and set it up."""
    for device, number in ((outside, 1), (inside, 2)):
        end = own.inside if device == inside else own.outside
        _ip(own, end, f"address add {_INSIDE.removesuffix('2')}{number}/24 dev {device}")
        _ip(own, end, f"address add {_INSIDE6.removesuffix('2')}{number}/64 dev {device} nodad")
        _ip(own, end, f"link set {device} up")


def test_both_ip_versions_in_one_listener(start: StartPrograms, space: Namespace) -> None:
    programs = _started(start, space)
    with Sending(space.address, _PORT, 8) as four, Sending(space.address6, _PORT, 8) as six:
        wait_for(lambda: programs.status()["ledger"]["captured"] > 2000, "both are on")
        sent = {space.address: four.pause(), space.address6: six.pause()}
        found = _wait_recorded(programs, sum(sum(segments.values()) for segments in sent.values()))
    for address, segments in sent.items():
        of_it = [record for record in found if record.destination == address]
        assert sum(record.value["segments"] for record in of_it) == sum(segments.values())
        assert {record.value["sport"] for record in of_it} == set(segments)


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_segment_in_fragments_is_one_record(
    start: StartPrograms, space: Namespace, family: socket.AddressFamily
) -> None:
    programs = _started(start, space, serve="none")
    address = space.address6 if family == socket.AF_INET6 else space.address
    segments, size, each = 50, 5000, 4  # fragments of a segment of that size, over Ethernet
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        for number in range(segments):
            raw.sendto(frames.tcp(40_000 + number, _PORT, frames.ACK, payload=bytes(size)), (address, 0))
    packets = _wait_accounted(programs, each * segments)
    assert packets["skipped"] == {"fragment": (each - 1) * segments}
    found = sorted(record.value["sport"] for record in _wait_recorded(programs, segments))
    assert found == [40_000 + number for number in range(segments)]


@pytest.mark.parametrize("family", _FAMILIES)
@pytest.mark.parametrize("merged_by_the_sender", [True, False])
@pytest.mark.parametrize("merged_on_the_way_in", [True, False])
def test_the_segments_of_all_records_are_those_that_were_sent_however_they_are_merged(
    start: StartPrograms,
    own: Namespace,
    family: socket.AddressFamily,
    merged_by_the_sender: bool,
    merged_on_the_way_in: bool,
) -> None:
    own.offload(own.outside, SET_TSO, merged_by_the_sender)
    own.offload(own.inside, SET_GRO, merged_on_the_way_in)
    programs = _started(start, own)
    found = _large_transfer(programs, own.address6 if family == socket.AF_INET6 else own.address)
    most = max(record.value["segments"] for record in found)
    if merged_by_the_sender:
        assert most > 1
    elif not merged_on_the_way_in:
        assert most == 1


def test_every_port_of_an_address(start: StartPrograms, space: Namespace) -> None:
    programs = _started(start, space, listen=[f"{space.address}:*"], serve="none")
    ports = [1, 80, 9000, 65_535]
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            connections(1, port, space.address)
    with pytest.raises(ConnectionRefusedError):
        connections(1, 80, space.address6)
    assert sorted(record.value["dport"] for record in _wait_recorded(programs, len(ports))) == ports
    _wait_accounted(programs, len(ports))


def test_only_connection_attempts(start: StartPrograms, space: Namespace) -> None:
    programs = _started(start, space, only="syn")
    ports = [*connections(50, _PORT, space.address), *connections(50, _PORT, space.address6)]
    found = _wait_recorded(programs, 100)
    assert sorted(record.value["sport"] for record in found) == sorted(ports)
    assert {record.value["flags"] for record in found} <= {"S", "SEC", "SCE", "SEW", "SECW"}
    _wait_accounted(programs, 100)


_TUNNELS: dict[str, Callable[[tunnels.Outer, bytes], bytes]] = {
    "IP in IP": tunnels.in_ip,
    "GRE": tunnels.in_gre,
    "GRE with a key": lambda outer, packet: tunnels.in_gre(outer, packet, tunnels.KEY),
    "VXLAN": lambda outer, packet: tunnels.in_vxlan(outer, tunnels.bridged(packet)),
    "Geneve": lambda outer, packet: tunnels.in_geneve(outer, tunnels.bridged(packet)),
}


@pytest.mark.parametrize("looked_into", [True, False])
def test_a_connection_inside_a_tunnel_is_recorded_where_tunnels_are_looked_into(
    start: StartPrograms, space: Namespace, looked_into: bool
) -> None:
    """With the inner addresses, on the interface that carries the tunnel, whichever tunnel it is."""
    listen = [f"{_INSIDE}:{_PORT}", f"[{_INSIDE6}]:{_PORT}"]
    programs = _started(start, space, listen=listen, interface=space.inside, serve="none", tunnels=looked_into)
    sent = []
    for number, wrapped in enumerate(_TUNNELS.values()):
        segments = [frames.tcp(40_000 + number, _PORT, flags) for flags in (0x02, 0x10, 0x18, 0x11)]
        inner = [frames.ipv4(segment, "10.214.0.9", _INSIDE) for segment in segments]
        inner += [frames.ipv6(segment, "fd00:214::9", _INSIDE6) for segment in segments]
        sent += [frames.ethernet(wrapped(outer, packet)).data for outer in tunnels.OUTER for packet in inner]
    beside = frames.ipv4(frames.tcp(50_000, _PORT), "10.214.0.9", _INSIDE)
    inject(space.outside, [*sent, frames.ethernet(beside).data])
    found = _wait_recorded(programs, 1 + (len(sent) if looked_into else 0))
    assert ("10.214.0.9", 50_000) in {(record.source, record.value["sport"]) for record in found}
    if looked_into:
        assert {record.value["sport"] for record in found} == {*range(40_000, 40_000 + len(_TUNNELS)), 50_000}
        assert {record.source for record in found} == {"10.214.0.9", "fd00:214::9"}
        assert {record.destination for record in found} == {_INSIDE, _INSIDE6}
    _wait_accounted(programs, len(found))


@pytest.mark.parametrize("address", [_INSIDE, _INSIDE6])
def test_every_segment_through_a_vxlan_is_recorded_once_on_the_interface_that_carries_it(
    start: StartPrograms, own: Namespace, address: str
) -> None:
    outside = own.address.removesuffix("2") + "1"
    for end, remote in ((own.outside, own.address), (own.inside, outside)):
        try:
            _ip(own, end, f"link add {end}x type vxlan id 7 dev {end} remote {remote} dstport 4789")
        except subprocess.CalledProcessError:
            pytest.skip(f"{KERNEL_HAS_NO} VXLAN devices")
    _address(own, f"{own.outside}x", f"{own.inside}x")
    listen = [f"{_INSIDE}:{_PORT}", f"[{_INSIDE6}]:{_PORT}"]
    programs = _started(start, own, listen=listen, interface=own.inside, tunnels=True)
    found = _large_transfer(programs, address)
    assert {record.destination for record in found} == {address}


@pytest.mark.parametrize("interface", ["both", "any"])
def test_on_several_interfaces_every_segment_is_recorded_once(
    start: StartPrograms, space: Namespace, interface: str
) -> None:
    chosen = [space.inside, "lo"] if interface == "both" else "any"
    programs = _started(start, space, interface=chosen)
    with (
        Sending(space.address, _PORT, 8) as outside,
        Sending(space.address, _PORT, 8, space.name) as inside,
        Sending(space.address6, _PORT, 8, space.name) as inside6,
    ):
        wait_for(lambda: programs.status()["ledger"]["captured"] > 3000, "all are on")
        sent = [sending.pause() for sending in (outside, inside, inside6)]
        found = _wait_recorded(programs, sum(sum(segments.values()) for segments in sent))
    assert {record.value["sport"] for record in found} == {port for segments in sent for port in segments}


def test_all_that_was_seen_is_accounted_for_also_what_the_kernel_dropped(
    start: StartPrograms, space: Namespace
) -> None:
    programs = _started(start, space, interface=space.inside, ring_bytes=_ENOUGH, serve="none")
    plain = frames.ethernet(frames.ipv4(frames.tcp(40_000, _PORT), destination=space.address)).data
    later = frames.ethernet(frames.ipv4(b"x" * 40, destination=space.address, fragment=100)).data
    bad = frames.ethernet(frames.ipv4(frames.tcp(40_000, _PORT)[:12] + bytes(8), destination=space.address)).data
    inject(space.outside, [plain, later, plain, bad, plain, plain, bad])
    packets = _wait_accounted(programs, 7)
    assert (packets["records"], packets["skipped"], packets["malformed"]) == (4, {"fragment": 1, "bad_tcp": 2}, 2)
    programs.signal("listener", signal.SIGSTOP)
    inject(space.outside, [plain] * 40_000)
    programs.signal("listener", signal.SIGCONT)
    packets = _wait_accounted(programs, 40_007)
    assert 0 < packets["kernel_drops"] < 40_000
    assert packets["ring_freezes"] > 0
    ledger = programs.wait_settled(packets["records"])["ledger"]
    assert ledger["stored"] == packets["records"]
    assert "event=kernel_drops" in programs.log("listener")
    inject(space.outside, [plain] * 100)
    assert _wait_accounted(programs, 40_107)["kernel_drops"] == packets["kernel_drops"], "and it goes on"
    assert programs.stop("listener") == 0
    at_rest = _packets(programs)
    assert (at_rest["seen"], at_rest["unread"]) == (40_107, 0)


def test_all_that_a_listener_saw_until_it_was_stopped_under_load_is_accounted_for(
    start: StartPrograms, space: Namespace
) -> None:
    """It stops at one moment: what comes later is neither recorded, nor seen, nor dropped."""
    programs = _started(start, space, serve="none", listen=[f"{space.address}:*"])
    plain = frames.ethernet(frames.ipv4(frames.tcp(40_000, _PORT), destination=space.address)).data
    process = programs.processes["listener"]
    wait_for(lambda: inject(space.outside, [plain] * 100) and _packets(programs)["seen"] > 10_000, "the load is on")
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: inject(space.outside, [plain] * 100) and process.poll() is not None, "it has stopped")
    assert programs.processes.pop("listener").returncode == 0
    packets = _packets(programs)
    assert packets["unread"] == packets["kernel_drops"] == 0
    assert packets["seen"] == packets["records"] == programs.status()["ledger"]["stored"]
