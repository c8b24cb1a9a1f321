"""All servers read at once, a thread for each, in pieces that wait in a short queue."""

import queue
import threading
from collections.abc import Iterator, Sequence

from tapfan.reader.exchange import FAILURES, Connection, RefusedError, reason
from tapfan.reader.found import Found
from tapfan.reader.loading import Loader, Wanted
from tapfan.reader.nodes import Node, nodes, title
from tapfan.reader.query import ReaderError
from tapfan.reader.report import Report
from tapfan.reader.scanning import all_keys
from tapfan.settings import WriterSettings

_PIECE_RECORDS = 65_536
_WAITING_PIECES = 4
_PAUSE_S = 0.1

_Item = Found | BaseException | None


def find_nodes(writers: Sequence[WriterSettings], timeout_s: float, report: Report) -> list[Node]:
    """The servers of all writers. Raises ReaderError when there is none that could be read."""
    found: list[Node] = []
    for writer in writers:
        try:
            found += nodes(writer, timeout_s)
        except FAILURES as error:
            report.fail(title(writer), reason(error, timeout_s))
    if not found:
        raise ReaderError(f"no Redis can be read: {report.reasons}")
    return found


class Gathering:
    """Reads all keys of all servers, once.

    Iterate over it for what was found, in no order and with duplicates; then close it. Raises ReaderError when no
    server could be read to its end.
    """

    def __init__(self, servers: Sequence[Node], wanted: Wanted, report: Report, timeout_s: float, now_ns: int) -> None:
        self._servers = servers
        self._wanted = wanted
        self._report = report
        self._timeout_s = timeout_s
        self._now_ns = now_ns
        self._queue: queue.Queue[_Item] = queue.Queue(_WAITING_PIECES)
        self._stopping = threading.Event()
        self._connections: list[Connection] = []
        self._threads = [
            threading.Thread(target=self._read, args=(server,), name="tapfan-reader", daemon=True) for server in servers
        ]

    def __iter__(self) -> Iterator[Found]:
        for thread in self._threads:
            thread.start()
        reading = len(self._threads)
        failed = 0
        while reading:
            item = self._queue.get()
            if isinstance(item, Found):
                yield item
                continue
            reading -= 1
            if isinstance(item, (*FAILURES, RefusedError)):
                failed += 1
            elif item is not None:
                raise item
        if failed == len(self._servers):
            raise ReaderError(f"no Redis can be read: {self._report.reasons}")

    def close(self) -> None:
        """End what still reads."""
        self._stopping.set()
        for connection in list(self._connections):
            connection.interrupt()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _read(self, server: Node) -> None:
        """Read one server, and say at the end that it was, or why it could not be."""
        opened: list[Connection] = []
        try:
            for _ in range(2):
                opened.append(Connection(server.pool))
                self._connections.append(opened[-1])
            for piece in self._pieces(*opened):
                if not self._put(piece):
                    return
            self._put(None)
        except (*FAILURES, RefusedError) as error:
            if not self._stopping.is_set():
                self._report.fail(server.title, reason(error, self._timeout_s))
            self._put(error)
        except BaseException as error:  # a thread's own has nobody who would see it
            self._put(error)
        finally:
            for connection in opened:
                connection.close()

    def _pieces(self, scanning: Connection, loading: Connection) -> Iterator[Found]:
        """What there is, in pieces worth the work that each costs."""
        loader = Loader(loading, self._wanted, self._report)
        waiting: list[Found] = []
        count = 0
        for keys in all_keys(scanning):
            for found in loader.load(keys, self._now_ns):
                waiting.append(found)
                count += len(found)
                if count >= _PIECE_RECORDS:
                    yield Found.concatenate(waiting)
                    waiting, count = [], 0
        if count:
            yield Found.concatenate(waiting)

    def _put(self, item: _Item) -> bool:
        """Whether somebody will take it."""
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=_PAUSE_S)
            except queue.Full:
                continue
            return True
        return False
