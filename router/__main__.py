"""`python -m router`: the router process."""

import sys

from router.service import serve
from tapfan.arguments import arguments
from tapfan.running import run


def main() -> int:
    """Run the router; gives the exit code."""
    settings, _ = arguments("router", "Splits captured records over the writers, exactly by weight.")
    return run("router", serve, settings)


if __name__ == "__main__":
    sys.exit(main())
