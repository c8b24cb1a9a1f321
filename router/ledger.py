"""What the ledger says, on disk: a router that starts goes on with what the one before it had counted.

Written twice a second and at the end, aside and then renamed. What happened between the last writing and a kill comes
from the listeners' own reports; only of a listener that was killed at the same time it is not known.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from router import files
from router.house import House
from router.listeners import MAX_SUM, Earlier, Listener
from router.streams import Stream
from tapfan.logs import Logger, Repeated
from tapfan.losses import Reason
from tapfan.messages import Count, ListenerReport, Sequence

_Sum = Annotated[int, Field(ge=0), AfterValidator(lambda count: min(count, MAX_SUM))]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Earlier(_Model):
    stored: _Sum
    lost: dict[Reason, _Sum]
    kernel_drops: _Sum


class _Stream(_Model):
    address: Annotated[str, Field(pattern="^([0-9a-f]{2})*$")]  # of the process that reported it
    report: ListenerReport
    counted_from: Sequence
    acknowledged: Sequence
    lost: dict[Reason, Count]


class _Ledger(_Model):
    version: Literal[1] = 1
    earlier: dict[str, _Earlier]
    streams: list[_Stream]


class LedgerFile:
    """Restores a house's counts, and saves them when they have changed."""

    def __init__(self, path: Path, log: Logger) -> None:
        self._path = path
        self._log = log
        self._repeated = Repeated(log)
        self._saved = ""

    def restore(self, house: House) -> None:
        """Give a new house the counts of the one before; a file that cannot be read is set aside."""
        ledger = files.read(self._path, _Ledger, self._log, "ledger_damaged", "counts from zero")
        if ledger is None:
            return
        for name, earlier in ledger.earlier.items():
            house.earlier[name] = Earlier(earlier.stored, Counter(earlier.lost), earlier.kernel_drops)
        for saved in ledger.streams:
            lost = Counter(saved.lost)
            stream = Stream(saved.counted_from, saved.acknowledged, saved.acknowledged, lost, lost.copy())
            listener = Listener(bytes.fromhex(saved.address), saved.report, stream, -1e9, restored=True)
            house.listeners[saved.report.stream] = listener

    def save(self, house: House) -> None:
        """Write the counts, if they have changed."""
        earlier = {
            name: _Earlier(stored=sums.stored, lost=dict(sums.lost), kernel_drops=sums.kernel_drops)
            for name, sums in house.earlier.items()
        }
        streams = [
            _Stream(
                address=listener.address.hex(),
                # What came in after the last report was captured, too, even if nobody reports any more.
                report=listener.report.model_copy(
                    update={"number": 0, "captured": max(listener.report.captured, listener.stream.expected)}
                ),
                counted_from=listener.stream.counted_from,
                acknowledged=listener.stream.acknowledged,
                lost=dict(listener.stream.acknowledged_lost),
            )
            for listener in house.listeners.values()
        ]
        text = _Ledger(earlier=earlier, streams=streams).model_dump_json()
        if text == self._saved:
            return
        try:
            files.write(self._path, text.encode())
        except OSError as error:
            self._repeated.warn("ledger_not_saved", problem=str(error))
            return
        self._saved = text
