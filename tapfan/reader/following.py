"""Records as they are stored, by threads: one for each server, and one for each writer, which looks after those."""

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tapfan.reader import tracking
from tapfan.reader.exchange import FAILURES, Connection, RefusedError, reason
from tapfan.reader.filtering import Filter
from tapfan.reader.found import Found
from tapfan.reader.identities import Streams
from tapfan.reader.loading import Loader, Wanted
from tapfan.reader.nodes import Node, nodes, title
from tapfan.reader.query import Query, ReaderError
from tapfan.reader.report import Report
from tapfan.reader.scanning import all_keys
from tapfan.reader.texts import Texts
from tapfan.settings import Settings, WriterSettings

_WAITING_PIECES = 16
_PAUSE_S = 0.1
_RETRY_S = 1.0
_LAYOUT_S = 10.0  # between two looks for servers that a cluster has got, as long as none is lost
_LOOK_S = 1.0  # between two looks through all keys, or four times as long as one took
# How long before a look a record may have been captured to be found by it: it may have been on its way that long.
_LATE_NS = 60 * 10**9


@dataclass
class _Server:
    """A server that is followed, or was tried to."""

    node: Node
    tried: threading.Event = field(default_factory=threading.Event)
    followed: bool = False


class _Writer:
    """A writer whose servers are followed; `lost_ns` is when the last of them was lost that had been followed."""

    def __init__(self, settings: WriterSettings) -> None:
        self.settings = settings
        self.begun = threading.Event()  # each server was tried once
        self.changed = threading.Event()  # a server's thread ended
        self.threads: dict[str, threading.Thread] = {}
        self.followed = False
        self.lost_ns: int | None = None


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
            self._threads.append(threading.Thread(target=self._look_after, args=(writer,), daemon=True))
            self._threads[-1].start()
        for writer in self._writers:
            writer.begun.wait()
        if not any(writer.followed for writer in self._writers):
            raise ReaderError(f"no Redis can be read: {self._report.reasons}")

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
            for thread in writer.threads.values():
                thread.join()

    def _begin(self, writer: _Writer) -> list[_Server] | None:
        """Start to follow those of the writer's servers that are not followed; None where they cannot be known."""
        try:
            found = nodes(writer.settings, self._timeout_s)
        except (*FAILURES, ValueError) as error:  # a password that is no text
            self._report.fail(title(writer.settings), reason(error, self._timeout_s))
            return None
        titles = {node.title for node in found}
        for gone in {title(writer.settings), *writer.threads} - titles:
            self._report.mend(gone)
        writer.threads = {name: thread for name, thread in writer.threads.items() if thread.is_alive()}
        servers = [_Server(node) for node in found if node.title not in writer.threads]
        for server in servers:
            thread = threading.Thread(target=self._follow, args=(writer, server), daemon=True)
            writer.threads[server.node.title] = thread
            thread.start()
        return servers

    def _follow(self, writer: _Writer, server: _Server) -> None:
        """Follow one server until it is lost, and say why it was."""
        try:
            with self._opened(server.node) as asking, self._opened(server.node) as notices:
                asking.run(b"SCAN", b"0", b"COUNT", b"1")  # refused where nothing can be read
                is_told = _begin_tracking(notices, asking)
                self._report.mend(server.node.title)
                server.followed = True
                missed_ns = (writer.lost_ns or self._began_ns) if writer.begun.is_set() else None
                server.tried.set()
                if is_told:
                    self._read_changes(server.node, notices, asking, missed_ns)
                else:
                    self._look_again_and_again(notices, asking)
        except (*FAILURES, RefusedError) as error:
            if not self._stopping.is_set():
                self._report.fail(server.node.title, reason(error, self._timeout_s))
        except BaseException as error:  # a thread's own has nobody who would see it
            self._put(error)
        finally:
            if server.followed:
                writer.lost_ns = time.time_ns()
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

    def _read_changes(self, node: Node, notices: Connection, asking: Connection, missed_ns: int | None) -> None:
        """Read what is written, as it is; first what may have been missed since a time."""
        if missed_ns is not None:
            with self._opened(node) as scanning:
                self._look(scanning, asking, missed_ns - _LATE_NS)
        loader = Loader(asking, self._wanted, self._report)
        for keys in tracking.changes(notices, asking, self._stopping.is_set):
            self._load(loader, Texts.of(keys))

    def _look_again_and_again(self, scanning: Connection, asking: Connection) -> None:
        since_ns = self._began_ns
        while not self._stopping.is_set():
            begun_ns = time.time_ns()
            self._look(scanning, asking, since_ns)
            since_ns = begun_ns - _LATE_NS
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
