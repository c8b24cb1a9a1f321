"""What of one stream is on its way: kept in order, sent, and sent again after a loss, until it is acknowledged."""

from collections import Counter, deque
from dataclasses import replace

from listener.entry import Entry
from tapfan.losses import Losses
from tapfan.messages import Acknowledgement


class Window:
    """The window of one stream. Decides what to send, and sends nothing itself; see `tapfan.messages`.

    `base`: the first record that it will hold; `captured`: records in the stream so far, also those that are only in
    the spool; `live`: whether more are captured into it.
    """

    def __init__(self, stream: str, base: int, captured: int, live: bool) -> None:
        self.stream = stream
        self.live = live
        self.captured = captured
        self.acknowledged = base  # every record below is stored or lost
        self.lost: Losses = Counter()  # of those
        self.end = base  # the sequence number after the last record that was put in
        self.records = self.size = 0  # of what is kept
        self._kept: deque[Entry] = deque()
        self._unsent = 0  # the place in `_kept` of the first entry not yet sent
        self._reports = 0
        self._trusted_report = 0  # an echo of an earlier report is from before the last resending

    @property
    def is_done(self) -> bool:
        """Whether everything that was captured is settled."""
        return not self._kept and self.end == self.captured

    @property
    def base(self) -> int:
        """The first record that is not settled."""
        # Of a gap that stands for batches of an earlier start, the router may have had some.
        return max(self._kept[0].first, self.acknowledged) if self._kept else self.end

    @property
    def sent(self) -> int:
        """One past the last record sent."""
        return max(self._kept[self._unsent].first, self.acknowledged) if self._unsent < len(self._kept) else self.end

    def put(self, entry: Entry) -> None:
        """Take the stream's next entry."""
        self._kept.append(entry)
        self.records += entry.records
        self.size += entry.size
        self.end = entry.end
        self.captured = max(self.captured, entry.end)

    def next_unsent(self) -> bytes | None:
        """The message of the first entry that is not sent yet; None when all are."""
        return self._kept[self._unsent].sendable if self._unsent < len(self._kept) else None

    def mark_sent(self) -> None:
        """What `next_unsent` gave is sent."""
        self._unsent += 1

    def take_acknowledgement(self, message: Acknowledgement) -> tuple[list[Entry], bool]:
        """Forget what is settled; what is proved lost on the way counts as unsent again.

        Gives the entries that were settled, and whether there was a loss.
        """
        if not self.live:
            # The earlier start may have sent more, from its memory, than was found in the spool.
            self.captured = max(self.captured, message.acknowledged)
        if not self.acknowledged <= message.acknowledged <= self.captured:
            return [], False
        self.acknowledged, self.lost = message.acknowledged, Counter(message.lost)
        settled = []
        while self._kept and self._kept[0].end <= self.acknowledged:
            entry = self._kept.popleft()
            settled.append(entry)
            self.records -= entry.records
            self.size -= entry.size
            self._unsent = max(0, self._unsent - 1)
        # An earlier start of the listener may have sent what this one has not yet taken from its spool.
        self.end = max(self.end, self.acknowledged)
        lost = message.report >= self._trusted_report and message.expected < min(message.sent, self.sent)
        if lost:
            self._unsent = next((i for i, kept in enumerate(self._kept) if kept.end > message.expected), 0)
            self._trusted_report = self._reports + 1
        return settled, lost

    def next_report(self) -> int:
        """The number of the next report, which is then counted as made."""
        self._reports += 1
        return self._reports

    def only_in_memory(self) -> list[Entry]:
        """What is kept and not in the spool."""
        return [entry for entry in self._kept if not entry.on_disk]

    def forget_disk(self) -> None:
        """What was in the spool is there no more."""
        self._kept = deque(replace(entry, on_disk=False) for entry in self._kept)
