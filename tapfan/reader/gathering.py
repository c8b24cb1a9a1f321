"""All servers read at once, once."""

import contextlib
from collections.abc import Generator, Iterator, Sequence

from tapfan.reader.ahead import Ahead
from tapfan.reader.exchange import FAILURES, Connection, RefusedError, trouble
from tapfan.reader.found import Found
from tapfan.reader.loading import Loader, Wanted
from tapfan.reader.nodes import Node, nodes_or_report
from tapfan.reader.query import ReaderError
from tapfan.reader.report import Report
from tapfan.reader.scanning import all_keys
from tapfan.sections import WriterSettings

_PIECE_RECORDS = 65_536
_WAITING_PIECES = 4
_WAITING_KEYS = 2  # pieces of them


def find_nodes(writers: Sequence[WriterSettings], timeout_s: float, report: Report) -> list[Node]:
    """The servers of all writers. Raises ReaderError when there is none that could be read."""
    found: list[Node] = []
    for writer in writers:
        found += nodes_or_report(writer, timeout_s, report) or ()
    if not found:
        raise ReaderError(f"no Redis can be read: {report.reasons or 'the configuration has no writers'}")
    return found


class Gathering:
    """Reads all keys of all servers.

    Iterate over it for what was found, in no order and with duplicates; then close it. Raises ReaderError when no
    server could be read to its end.
    """

    def __init__(self, servers: Sequence[Node], wanted: Wanted, report: Report, timeout_s: float, now_ns: int) -> None:
        self._servers = servers
        self._wanted = wanted
        self._report = report
        self._timeout_s = timeout_s
        self._now_ns = now_ns
        self._connections: set[Connection] = set()
        self._is_over = False
        self._ahead = Ahead([self._read(server) for server in servers], _WAITING_PIECES)

    def __iter__(self) -> Iterator[Found]:
        yield from self._ahead
        if all(self._report.has_failed(server.title) for server in self._servers):
            raise ReaderError(f"no Redis can be read: {self._report.reasons}")

    def close(self) -> None:
        """End what still reads."""
        self._is_over = True
        for connection in list(self._connections):
            connection.interrupt()
        self._ahead.close()

    def _read(self, server: Node) -> Generator[Found, None, None]:
        """What one server has, as far as it can be read."""
        try:
            with self._opened(server) as scanning, self._opened(server) as loading:
                yield from self._pieces(scanning, Loader(loading, self._wanted, self._report))
        except (*FAILURES, RefusedError) as error:
            if not self._is_over:
                self._report.fail(server.title, trouble(error, self._timeout_s))

    @contextlib.contextmanager
    def _opened(self, server: Node) -> Iterator[Connection]:
        connection = Connection(server.pool)
        self._connections.add(connection)
        try:
            yield connection
        finally:
            self._connections.discard(connection)
            connection.close()

    def _pieces(self, scanning: Connection, loader: Loader) -> Iterator[Found]:
        """What there is, in pieces worth the work that each costs; keys are looked for while others are loaded."""
        waiting: list[Found] = []
        count = 0
        with contextlib.closing(Ahead([all_keys(scanning)], _WAITING_KEYS)) as pieces:
            for keys in pieces:
                for found in loader.load(keys, self._now_ns):
                    waiting.append(found)
                    count += len(found)
                    if count >= _PIECE_RECORDS:
                        yield Found.concatenate(waiting)
                        waiting, count = [], 0
        if count:
            yield Found.concatenate(waiting)
