"""`python -m listener.serving`: started by the listener, which hands over the sockets; not for use by hand."""

import argparse
import asyncio
import sys

from listener.serving.service import serve


def main() -> int:
    """Serve until the listener closes our standard input; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, nargs="+", required=True, help="descriptors of listening sockets")
    parser.add_argument("--upstream", help="host:port to forward to; without it, what is read is discarded")
    parser.add_argument("--rows", type=int, help="descriptor of a pipe for records of what is accepted")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.sockets, chosen.upstream, chosen.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
