"""Running a service in this process: with a log, until it ends or a signal stops it."""

import ctypes
import gc
from collections.abc import Callable

from tapfan.logs import Logger, open_log
from tapfan.program import EXIT_FAILED, CannotRunError
from tapfan.settings import Settings
from tapfan.stopping import Stop, stop_on_signals

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 32 * 2**20

Service = Callable[[Settings, Logger, Stop], None]


def run(name: str, service: Service, settings: Settings) -> int:
    """Run the service until it ends or a signal stops it; gives the exit code."""
    log = open_log(name)
    _keep_freed_memory()
    gc.freeze()  # what was made by importing stays: not to be looked through again and again
    with stop_on_signals() as stop:
        try:
            service(settings, log, stop)
        except CannotRunError as error:
            log.error("cannot_run", problem=str(error))
            return EXIT_FAILED
    log.info("stopped")
    return 0


def _keep_freed_memory() -> None:
    """Let glibc keep up to _KEPT_BYTES that was freed: every batch would else get new pages from the kernel."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
