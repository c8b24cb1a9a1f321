"""`python -m listener`: the listener process."""

import sys

from listener.service import serve
from tapfan.program import arguments, run


def main() -> int:
    """Run the listener; gives the exit code."""
    settings, _ = arguments("listener", "Captures the TCP packets sent to the configured endpoints.")
    return run("listener", serve, settings)


if __name__ == "__main__":
    sys.exit(main())
