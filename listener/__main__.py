"""`python -m listener`: the listener process."""

import argparse
import sys
from functools import partial

from listener.files.errors import CaptureFileError
from listener.files.opening import open_capture
from listener.replay import NAME, replay
from listener.service import serve
from tapfan.arguments import arguments
from tapfan.program import bad_usage
from tapfan.running import run


def main() -> int:
    """Run the listener; gives the exit code."""
    settings, chosen = arguments("listener", "Captures the TCP packets sent to the configured endpoints.", _options)
    if chosen.rebase and chosen.read is None:
        bad_usage("listener", ValueError("--rebase moves the timestamps of a capture file: --read FILE is missing"))
    if chosen.read is None:
        return run("listener", serve, settings)
    try:
        file = open_capture(chosen.read)
    except CaptureFileError as error:
        bad_usage("listener", error)
    listener = settings.listener.model_copy(update={"name": NAME})
    reading = partial(replay, file=file, rebase=chosen.rebase)
    return run("listener", reading, settings.model_copy(update={"listener": listener}))


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--read",
        metavar="FILE",
        help="read packets from a capture file (pcap or pcapng, also in gzip; - for the standard input), "
        "store those sent to the endpoints, and end",
    )
    parser.add_argument(
        "--rebase", action="store_true", help="with --read: move all timestamps, the first packet's to now"
    )


if __name__ == "__main__":
    sys.exit(main())
