"""Iterators that run ahead in threads of their own, as their work is mostly waiting for others."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Generic, TypeVar

_PAUSE_S = 0.1

T = TypeVar("T")


class Ahead(Generic[T]):
    """What several iterators give, as it comes; to be closed. What one of them raises is raised here.

    `waiting`: how many items are ready at most before one is asked for.
    """

    def __init__(self, sources: Sequence[Generator[T, None, None]], waiting: int) -> None:
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(waiting)
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(source,), name="tapfan-reader", daemon=True) for source in sources
        ]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[T]:
        running = len(self._threads)
        while running:
            item = self._queue.get()
            if isinstance(item, tuple):
                yield item[0]
            elif item is None:
                running -= 1
            else:
                raise item

    def close(self) -> None:
        """End the threads: each when it gives its next item."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, source: Generator[T, None, None]) -> None:
        try:
            with contextlib.closing(source):
                for item in source:
                    if not self._put((item,)):
                        return
            self._put(None)
        except BaseException as error:  # nobody would see a thread's own
            self._put(error)

    def _put(self, item: tuple[T] | BaseException | None) -> bool:
        """Whether somebody will take it."""
        while not self._is_over.is_set():
            try:
                self._queue.put(item, timeout=_PAUSE_S)
            except queue.Full:
                continue
            return True
        return False
