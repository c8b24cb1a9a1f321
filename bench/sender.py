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

import numpy as np
from numpy.typing import NDArray

_SOL_PACKET = 263
_PACKET_TX_RING, _PACKET_VERSION, _PACKET_QDISC_BYPASS = 13, 10, 20
_TPACKET_V2 = 1
_FRAME_BYTES, _FRAMES, _BLOCK_BYTES = 128, 32_768, 2**20
_DATA_AT = 32
_SEND_REQUEST = 1
_BURST = 512


def frames(destination: str, port: int, count: int) -> NDArray[np.uint8]:
    """Ethernet frames of plain ACKs to one endpoint from many sources: shape (count, 60)."""
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


def send(interface: str, rows: NDArray[np.uint8], rate: float, seconds: float) -> tuple[int, float]:
    """Send the frames over and over, at so many a second; gives how many were sent, in how many seconds."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
    size = _FRAME_BYTES * _FRAMES
    raw.setsockopt(
        _SOL_PACKET, _PACKET_TX_RING, struct.pack("4I", _BLOCK_BYTES, size // _BLOCK_BYTES, _FRAME_BYTES, _FRAMES)
    )
    raw.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
    raw.bind((interface, 3))
    with raw, mmap.mmap(raw.fileno(), size) as ring:
        cells = np.frombuffer(ring, np.uint8).reshape(_FRAMES, _FRAME_BYTES)
        cells[:, _DATA_AT : _DATA_AT + rows.shape[1]] = rows[np.arange(_FRAMES) % len(rows)]
        heads = cells.view(np.uint32)
        heads[:, 1] = rows.shape[1]
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
    parser.add_argument("destination")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=5)
    chosen = parser.parse_args()
    sent, elapsed = send(
        chosen.interface, frames(chosen.destination, chosen.port, _FRAMES), chosen.rate, chosen.seconds
    )
    print(json.dumps({"sent": sent, "seconds": elapsed}))


if __name__ == "__main__":
    main()
