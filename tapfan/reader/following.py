"""Records as they are stored, by threads: one for each server, and one for each writer, which looks after those."""

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tapfan.reader import tracking
from tapfan.reader.exchange import FAILURES, Connection, RefusedError, trouble
from tapfan.reader.filtering import Filter
from tapfan.reader.found import Found
from tapfan.reader.identities import Streams
from tapfan.reader.loading import Loader, Wanted
from tapfan.reader.nodes import Node, nodes_or_report, title
from tapfan.reader.query import Query, ReaderError
from tapfan.reader.report import Report
from tapfan.reader.scanning import all_keys
from tapfan.reader.texts import Texts
from tapfan.sections import WriterSettings
from tapfan.settings import Settings

_WAITING_PIECES = 16
_PAUSE_S = 0.1
_RETRY_S = 1.0
_LAYOUT_S = 10.0  # between two looks for servers that a cluster has got, as long as none is lost
_LOOK_S = 1.0  # between two looks through all keys, or four times as long as one took
# How long before a look a record may have been captured to be found by it: it may have been on its way that long.
_LATE_NS = 60 * 10**9


@dataclass
class _Server:
    """A server that is followed, or was tried to; `missed_ns` is since when there can be what was not read of it."""

    node: Node
    missed_ns: int | None
    thread: threading.Thread | None = None
    tried: threading.Event = field(default_factory=threading.Event)
    followed: bool = False


class _Writer:
    """A writer whose servers, by their titles, are followed; `looked_ns` is when it was last known which they are."""

    def __init__(self, settings: WriterSettings) -> None:
        self.settings = settings
        self.begun = threading.Event()  # each server was tried once
        self.changed = threading.Event()  # a server's thread ended
        self.servers: dict[str, _Server] = {}
        self.followed = False
        self.looked_ns = 0

    def server(self, node: Node) -> _Server:
        """That server; a new one may hold what others have missed, and what came since it was not yet there."""
        known = self.servers.get(node.title)
        if known is None:
            times = (self.looked_ns, *(server.missed_ns for server in self.servers.values()))
            missed_ns = min(time_ns for time_ns in times if time_ns is not None) if self.begun.is_set() else None
            known = self.servers[node.title] = _Server(node, missed_ns)
        return known


class Following:
    """Reads what is stored from its start on, and goes on when a server was away; to be closed.

    Where Redis does not tell what is written, all its keys are looked through again and again; then, and for the time
    in which a server could not be followed, what was captured more than a minute before it was stored can be missed.
    """

    def __init__(self, settings: Settings, query: Query, report: Report, timeout_s: float) -> None:
        self._query = query
        self._report = report
        self._timeout_s = timeout_s
        self._wanted = Wanted(Filter(query), Streams(), int(settings.ttl * 1e9), with_values=True)
        self._queue: queue.Queue[Found | BaseException] = queue.Queue(_WAITING_PIECES)
        self._stopping = threading.Event()
        self._connections: set[Connection] = set()
        self._began_ns = 0
        self._writers = [_Writer(writer) for writer in settings.writers]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, and wait until each server is followed or has failed. Raises ReaderError when none is followed."""
        self._began_ns = time.time_ns()
        for writer in self._writers:
            writer.looked_ns = self._began_ns
            self._threads.append(threading.Thread(target=self._look_after, args=(writer,), daemon=True))
            self._threads[-1].start()
        for writer in self._writers:
            writer.begun.wait()
        if not any(writer.followed for writer in self._writers):
            raise ReaderError(f"no Redis can be read: {self._report.reasons or 'the configuration has no writers'}")

    def take(self, timeout_s: float) -> list[Found]:
        """What has come in; waits so long for the first, and for no other."""
        items: list[Found | BaseException] = []
        with contextlib.suppress(queue.Empty):
            items.append(self._queue.get(timeout=timeout_s))
            while len(items) < _WAITING_PIECES:
                items.append(self._queue.get_nowait())
        for item in items:
            if isinstance(item, BaseException):
                raise item
        return [item for item in items if isinstance(item, Found)]

    def close(self) -> None:
        """End all of it."""
        self._stopping.set()
        for writer in self._writers:
            writer.changed.set()
        for connection in list(self._connections):
            connection.interrupt()
        for thread in self._threads:
            thread.join()

    def _look_after(self, writer: _Writer) -> None:
        """Follow the writer's servers, which a cluster may change, and again those that were lost."""
        try:
            while not self._stopping.is_set():
                writer.changed.clear()
                servers = self._begin(writer)
                if not writer.begun.is_set():
                    for server in servers or ():
                        server.tried.wait()
                    writer.followed = any(server.followed for server in servers or ())
                    writer.begun.set()
                if servers is not None:
                    writer.changed.wait(_LAYOUT_S)
                self._stopping.wait(_RETRY_S)
        except BaseException as error:  # a thread's own has nobody who would see it
            self._put(error)
        finally:
            writer.begun.set()
            for server in writer.servers.values():
                if server.thread is not None:
                    server.thread.join()

    def _begin(self, writer: _Writer) -> list[_Server] | None:
        """Start to follow those of the writer's servers that are not followed; None where they cannot be known."""
        looked_ns = time.time_ns()
        found = nodes_or_report(writer.settings, self._timeout_s, self._report)
        if found is None:
            return None
        for gone in {title(writer.settings), *writer.servers} - {node.title for node in found}:
            self._report.mend(gone)
        begun: list[_Server] = []
        for server, node in [(writer.server(node), node) for node in found]:
            if server.thread is None or not server.thread.is_alive():
                server.node = node
                server.thread = threading.Thread(target=self._follow, args=(writer, server), daemon=True)
                server.thread.start()
                begun.append(server)
        writer.looked_ns = looked_ns
        return begun

    def _follow(self, writer: _Writer, server: _Server) -> None:
        """Follow one server until it is lost, and say why it was."""
        server.followed = False
        try:
            with self._opened(server.node) as asking, self._opened(server.node) as notices:
                asking.run(b"SCAN", b"0", b"COUNT", b"1")  # refused where nothing can be read
                is_told = _begin_tracking(notices, asking)
                self._report.mend(server.node.title)
                server.followed = True
                server.tried.set()
                if is_told:
                    self._read_changes(server, notices, asking)
                else:
                    self._look_again_and_again(server, notices, asking)
        except (*FAILURES, RefusedError) as error:
            if not self._stopping.is_set():
                self._report.fail(server.node.title, trouble(error, self._timeout_s))
        except BaseException as error:  # a thread's own has nobody who would see it
            self._put(error)
        finally:
            if server.missed_ns is None:
                server.missed_ns = time.time_ns() if server.followed else self._began_ns
            server.tried.set()
            writer.changed.set()

    @contextlib.contextmanager
    def _opened(self, node: Node) -> Iterator[Connection]:
        connection = Connection(node.pool)
        self._connections.add(connection)
        try:
            if self._stopping.is_set():
                raise ConnectionError("reading has ended")
            yield connection
        finally:
            self._connections.discard(connection)
            connection.close()

    def _read_changes(self, server: _Server, notices: Connection, asking: Connection) -> None:
        """Read what is written, as it is; first what may have been missed."""
        if server.missed_ns is not None:
            with self._opened(server.node) as scanning:
                self._look(scanning, asking, server.missed_ns - _LATE_NS)
            server.missed_ns = None
        loader = Loader(asking, self._wanted, self._report)
        for keys in tracking.changes(notices, asking, self._stopping.is_set):
            self._load(loader, Texts.of(keys))

    def _look_again_and_again(self, server: _Server, scanning: Connection, asking: Connection) -> None:
        since_ns = self._began_ns
        while not self._stopping.is_set():
            begun_ns = time.time_ns()
            self._look(scanning, asking, since_ns)
            since_ns, server.missed_ns = begun_ns - _LATE_NS, None
            self._stopping.wait(max(_LOOK_S, 4 * (time.time_ns() - begun_ns) / 1e9))

    def _look(self, scanning: Connection, asking: Connection, since_ns: int) -> None:
        """Read all that there is, of what was captured since then and since all of this began."""
        since_ns = max(since_ns, self._began_ns, self._query.since_ns or 0)
        recent = Filter(dataclasses.replace(self._query, since_ns=since_ns))
        loader = Loader(asking, dataclasses.replace(self._wanted, filter=recent), self._report)
        for keys in all_keys(scanning):
            self._load(loader, keys)

    def _load(self, loader: Loader, keys: Texts) -> None:
        for found in loader.load(keys, time.time_ns()):
            self._put(found)

    def _put(self, item: Found | BaseException) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=_PAUSE_S)
                return


def _begin_tracking(notices: Connection, asking: Connection) -> bool:
    """Whether Redis will tell what is written; an old one does not, nor one whose user may not ask for it."""
    try:
        tracking.begin(notices, asking)
    except RefusedError:
        return False
    return True
