"""`python -m bench.sender`: sends TCP packets at a rate through an AF_PACKET transmit ring; needs root.

Prints one line of JSON: how many packets were sent, in how many seconds.
"""

import argparse
import ipaddress
import json
import mmap
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SOL_PACKET = 263
_PACKET_TX_RING, _PACKET_VERSION, _PACKET_QDISC_BYPASS = 13, 10, 20
_TPACKET_V2 = 1
_FRAMES, _BLOCK_BYTES = 8192, 2**20
_CELL_BYTES = 128  # a frame's room in the ring
_DATA_AT = 32
_SEND_REQUEST = 1
_BURST = 512


def acks(destination: str, port: int, count: int) -> NDArray[np.uint8]:
    """Ethernet frames of plain ACKs to one IPv4 endpoint from many sources: shape (count, 60)."""
    random = np.random.default_rng(1)
    rows = np.zeros((count, 60), np.uint8)
    rows[:, :6] = (2, 0, 0, 0, 0, 9)  # of nobody: the receiving host's stack drops it, without an answer
    rows[:, 6:12] = (2, 0, 0, 0, 0, 1)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, socket.IPPROTO_TCP, 0)
    rows[:, 12:26] = np.frombuffer(b"\x08\x00" + ip, np.uint8)
    rows[:, 26] = 10
    rows[:, 27:30] = random.integers(0, 256, (count, 3))
    rows[:, 30:34] = np.frombuffer(ipaddress.ip_address(destination).packed, np.uint8)
    rows[:, 34:36] = random.integers(0, 256, (count, 2))
    rows[:, 36:38] = np.frombuffer(struct.pack(">H", port), np.uint8)
    rows[:, 46] = 0x50
    rows[:, 47] = 0x10
    return rows


def acks6(destination: str, port: int, count: int) -> NDArray[np.uint8]:
    """The same to an IPv6 endpoint: shape (count, 74)."""
    random = np.random.default_rng(2)
    rows = np.zeros((count, 74), np.uint8)
    rows[:, :12] = (2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1)
    rows[:, 12:22] = np.frombuffer(struct.pack(">HIHBB", 0x86DD, 6 << 28, 20, socket.IPPROTO_TCP, 64), np.uint8)
    rows[:, 22:30] = np.frombuffer(ipaddress.ip_address("2001:db8::").packed[:8], np.uint8)
    rows[:, 32:38] = random.integers(0, 256, (count, 6))
    rows[:, 38:54] = np.frombuffer(ipaddress.ip_address(destination).packed, np.uint8)
    rows[:, 54:56] = random.integers(0, 256, (count, 2))
    rows[:, 56:58] = np.frombuffer(struct.pack(">H", port), np.uint8)
    rows[:, 66] = 0x50
    rows[:, 67] = 0x10
    return rows


def mixed(destinations: Sequence[str], port: int, count: int) -> list[bytes]:
    """Frames to endpoints of both families in turn, of lengths from a plain ACK to a full segment."""
    made = []
    payloads = np.random.default_rng(3).choice([0, 0, 0, 100, 500, 1400], count).tolist()
    kinds = [(acks if ":" not in destination else acks6)(destination, port, count) for destination in destinations]
    for i, payload in enumerate(payloads):
        rows = kinds[i % len(kinds)]
        headers, length_at, length = (54, 16, 40) if rows.shape[1] == 60 else (74, 18, 20)
        frame = bytearray(rows[i, :headers]) + bytes(payload)
        struct.pack_into(">H", frame, length_at, length + payload)
        made.append(bytes(frame).ljust(60, b"\0"))
    return made


def write_pcap(file: Path, frames: Sequence[bytes], packets: int) -> None:
    """The frames over and over as a capture file of Ethernet, a packet a microsecond from now on."""
    now_s = int(time.time())
    with file.open("wb") as out:
        out.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 2**18, 1))
        for i in range(packets):
            frame = frames[i % len(frames)]
            out.write(struct.pack("<4I", now_s + i // 1_000_000, i % 1_000_000, len(frame), len(frame)) + frame)


def send(interface: str, frames: Sequence[bytes], rate: float, seconds: float) -> tuple[int, float]:
    """Send small frames over and over, at so many a second; gives how many were sent, in how many seconds."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
    size = _CELL_BYTES * _FRAMES
    raw.setsockopt(
        _SOL_PACKET, _PACKET_TX_RING, struct.pack("4I", _BLOCK_BYTES, size // _BLOCK_BYTES, _CELL_BYTES, _FRAMES)
    )
    raw.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
    raw.bind((interface, 3))
    with raw, mmap.mmap(raw.fileno(), size) as ring:
        cells = np.frombuffer(ring, np.uint8).reshape(_FRAMES, _CELL_BYTES)
        heads = cells.view(np.uint32)
        for i in range(_FRAMES):
            frame = frames[i % len(frames)]
            cells[i, _DATA_AT : _DATA_AT + len(frame)] = np.frombuffer(frame, np.uint8)
            heads[i, 1] = len(frame)
        begun = time.monotonic()
        sent = at = 0
        while (now := time.monotonic()) < begun + seconds:
            due = int((now - begun) * rate) - sent
            if due < _BURST:
                time.sleep(_BURST / rate / 2)
                continue
            heads[at : at + _BURST, 0] = _SEND_REQUEST
            raw.send(b"")
            sent += _BURST
            at = (at + _BURST) % _FRAMES
        elapsed = time.monotonic() - begun
        del cells, heads
        return sent, elapsed


def main() -> None:
    """Send, and print what was sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interface")
    parser.add_argument("port", type=int)
    parser.add_argument("destination")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=5)
    chosen = parser.parse_args()
    frames = [row.tobytes() for row in acks(chosen.destination, chosen.port, _FRAMES)]
    sent, elapsed = send(chosen.interface, frames, chosen.rate, chosen.seconds)
    print(json.dumps({"sent": sent, "seconds": elapsed}))


if __name__ == "__main__":
    main()
