"""On which CPU a test runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keeps this thread, and what it starts meanwhile, on one CPU.

    What it sends over the loopback interface or a veth pair then comes in as it was sent: each CPU has its own backlog.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
