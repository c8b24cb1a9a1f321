"""`python -m bench [NAME…]`: measures, prints the figures beside those asked for, and exits 1 when one is missed."""

import os
import sys

from bench.blocks import block
from bench.capture import capture, spool
from bench.control import control
from bench.fanout import fanout
from bench.files import files
from bench.outage import outage
from bench.pipeline import pipeline
from bench.reader import reader
from tests.process.namespace import namespace

_BENCHES = {
    bench.__name__: bench for bench in (capture, files, spool, pipeline, fanout, control, block, reader, outage)
}


def main() -> int:
    """Run the benches that are named, or all; gives the exit code."""
    names = sys.argv[1:] or list(_BENCHES)
    if unknown := [name for name in names if name not in _BENCHES]:
        print(f"no bench is named {', '.join(unknown)}; there are: {', '.join(_BENCHES)}")
        return 2
    if os.geteuid() != 0:
        print(f"skipped, as the load needs root: {', '.join(names)}")
        return 0
    with namespace() as space:
        met = [figure for name in names for figure in _BENCHES[name](space)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
