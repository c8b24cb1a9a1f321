"""The listener's source of records by capturing: a ring for each interface."""

import errno
import os
from collections import deque
from typing import Literal, NamedTuple

import numpy as np

from listener.capture import blocks
from listener.capture.filter import build
from listener.capture.ring import Ring
from listener.decode.decoder import Decoded, decode
from listener.decode.matching import Matching
from tapfan.batch import Records
from tapfan.endpoints import Endpoint
from tapfan.interfaces import choose
from tapfan.logs import Logger
from tapfan.messages import PacketCounts
from tapfan.program import CannotRunError
from tapfan.sections import ListenerSettings
from tapfan.skips import Skipped

_LONGEST_RETIRE_S = 0.01
_FANOUT_OF = {0: 0, 4: 1, 6: 2}  # by IP version: the packets of one are not for the rings of the other


class CaptureSource:
    """Captures what is sent to the endpoints. Raises CannotRunError, and PermissionError without CAP_NET_RAW."""

    kind: Literal["capture"] = "capture"
    can_wait = has_ended = False

    def __init__(self, settings: ListenerSettings, log: Logger) -> None:
        self._log = log
        self._tunnels = settings.tunnels
        self._skipped = Skipped()
        self._buffer = np.zeros(blocks.BUFFER_BYTES, np.uint8)
        self._rings: list[_Filtered] = []
        try:
            for interface in choose(settings.listen, settings.interface):
                for kind, endpoints in _apart(settings).items():
                    self._rings.append(_open(interface, endpoints, kind, settings))
        except BaseException:
            self.close()
            raise
        self._unread = deque(self._rings)  # of this look

    @property
    def interfaces(self) -> list[str]:
        """What is captured on."""
        return list(dict.fromkeys(filtered.ring.interface for filtered in self._rings))

    @property
    def ring_bytes(self) -> int:
        """The memory of all rings, which cannot be swapped."""
        return sum(filtered.ring.size for filtered in self._rings)

    def descriptors(self) -> list[int]:
        """To be polled for reading."""
        return [filtered.ring.fileno() for filtered in self._rings]

    def read(self) -> Records | None:
        """The records of the next blocks of a ring, decoded together; None once all that was there is read."""
        while self._unread:
            ring, matching = filtered = self._unread.popleft()
            taken = ring.take(blocks.TOGETHER)
            if not ring.is_drained:
                self._unread.append(filtered)  # at the end: no ring has to wait until another is empty
            if taken is not None:
                records = blocks.alike(taken)
                decoded = (
                    decode(blocks.copied(taken, self._buffer), self._tunnels) if records is None else Decoded(records)
                )
                ring.give_back(len(taken))
                self._skipped += decoded.skipped
                return self._wanted(decoded.records, matching)
        self._unread.extend(self._rings)
        return None

    def _wanted(self, records: Records, matching: Matching | None) -> Records:
        """Those of the records that are for us."""
        if matching is None:
            return records
        wanted = matching.wanted(records)
        if wanted.all():
            return records
        self._skipped["other_endpoint"] += len(wanted) - int(wanted.sum())
        return records[wanted]

    def check(self) -> None:
        """To be called now and then: tells of interfaces that are down. Raises CannotRunError when one is gone."""
        for ring, _ in self._rings:
            error = ring.take_error()
            if ring.is_lost():
                raise CannotRunError(f"the interface {ring.interface}, on which packets were captured, is gone")
            if error:
                self._log.warning(
                    "interface_error", interface=ring.interface, problem=os.strerror(error), then="waits for it"
                )

    def counts(self) -> PacketCounts:
        """What became of the packets since the start."""
        of_rings = [ring.statistics() for ring, _ in self._rings]
        seen, drops, freezes = (sum(counts) for counts in zip(*of_rings, strict=True))
        return PacketCounts(seen=seen, kernel_drops=drops, ring_freezes=freezes, skipped=dict(self._skipped))

    def stop(self) -> None:
        """Capture no more; what was captured is still to be read, a moment later."""
        for ring, _ in self._rings:
            ring.stop()
        self._unread = deque(self._rings)

    def close(self) -> None:
        """Stop capturing."""
        for ring, _ in self._rings:
            ring.close()


class _Filtered(NamedTuple):
    """A ring, and what is still to be matched where its filter lets through more than is wanted."""

    ring: Ring
    matching: Matching | None


def _apart(settings: ListenerSettings) -> dict[int, list[Endpoint]]:
    """The endpoints by IP version, each of which gets rings of its own; by 0 for both.

    In a ring of one family nearly all packets are alike, which makes decoding twice as fast. Where tunnels are looked
    into, packets of either family may have the other inside.
    """
    if settings.tunnels:
        return {0: list(settings.listen)}
    versions = {endpoint.address.version for endpoint in settings.listen}
    return {
        version: [endpoint for endpoint in settings.listen if endpoint.address.version == version]
        for version in sorted(versions)
    }


def _open(interface: str, endpoints: list[Endpoint], kind: int, settings: ListenerSettings) -> _Filtered:
    """A ring for the endpoints. Raises CannotRunError, and PermissionError without CAP_NET_RAW."""
    program = build(endpoints, settings.only, settings.tunnels)
    # The kernel hands a block over after one to two such periods: a linger at most, and however long that is, soon.
    retire_ms = max(1, round(min(settings.linger / 2, _LONGEST_RETIRE_S) * 1000))
    fanout = None if settings.fanout is None else settings.fanout << 2 | _FANOUT_OF[kind]
    try:
        ring = Ring(interface, program.code, settings.ring_bytes, retire_ms, fanout)
    except PermissionError:
        raise
    except OSError as error:
        raise CannotRunError(
            f"cannot capture on {interface}: {error.strerror or error}{_hint(error, settings)}"
        ) from error
    return _Filtered(ring, None if program.exact else Matching(endpoints, settings.only))


def _hint(error: OSError, settings: ListenerSettings) -> str:
    if error.errno == errno.ENOPROTOOPT:
        return "; Linux 4.20 or newer is needed"
    if error.errno in (errno.EINVAL, errno.EALREADY) and settings.fanout is not None:
        return (
            f"; fanout = {settings.fanout} under [listener] needs Linux 5.7, and a number that no other program "
            "has for something else"
        )
    return ""
