"""`python -m tapfan.welcome`: waits until everything runs, and says what to try next; or says what does not run."""

import shutil
import sys
import time
from pathlib import Path

from tapfan import durations
from tapfan.arguments import arguments
from tapfan.control import ControlClient, ControlTimeoutError
from tapfan.embedded_redis import find_client
from tapfan.program import EXIT_FAILED
from tapfan.settings import Settings

_TIMEOUT_S = 20.0
_PAUSE_S = 0.2


def missing(settings: Settings) -> list[str]:
    """The supervisor's names of the programs that are not yet ready."""
    try:
        with ControlClient.of(settings, _PAUSE_S) as client:
            status = client.status()
    except ControlTimeoutError:
        return ["router"]
    writers = [f"writer-{name}" for name, writer in status["writers"].items() if writer["health"] != "up"]
    listener = status["listeners"].get(settings.listener.name, {"health": "absent"})
    return writers + ([] if listener["health"] == "up" else ["listener"])


def hints(settings: Settings) -> str:
    """What a new user can do now."""
    endpoint = settings.listener.listen[0]
    weights = " ".join(
        f"{writer.name}={other.weight:.15g}"
        for writer, other in zip(settings.writers, reversed(settings.writers), strict=True)
    )
    drain = ""
    if len(settings.writers) > 1:  # the last one would have to be forced
        drain = (
            f"  tapfan drain {settings.writers[0].name} --wait".ljust(40)
            + "# takes it out; `tapfan ready` is the way back\n"
        )
    single = next((writer for writer in settings.writers if settings.layout_of(writer) == "record"), None)
    scan = "" if single is None else f"  {_redis_cli()} -u {single.redacted} --scan --pattern 'tcp:*'\n"
    return f"""
tapfan runs: packets to {endpoint} are stored for {durations.text(settings.ttl)}. In another terminal:

  . .venv/bin/activate
  curl -m 1 http://{endpoint}/     # makes some packets; nothing answers, so curl gives up after 1 s
  tapfan status                         # what was captured, and where it went
  tapfan query --last 1m                # the records of the last minute
  tapfan top                            # who had most packets
  tapfan follow                         # records as they are stored
  tapfan watch                          # all of it live, with keys to steer; q quits
  tapfan weights {weights}              # changes the split, live
{drain}  tapfan undo; tapfan history           # takes the last change back; who changed what
  tapfan ttl 10m                        # how long the records to come live
{scan}
Ctrl-C here stops everything, in order; what was captured is stored before. Redis servers that were started here keep
nothing on disk: with them goes what they have.
"""


def _redis_cli() -> str | Path:
    return "redis-cli" if shutil.which("redis-cli") else find_client() or "redis-cli"


def telling_line(log: Path, begin: int = 0) -> str:
    """The last warning or error of a log, else its last line; of what is in it from that byte on."""
    try:
        lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if "level=error" in line or "level=warning" in line]
    return (told or lines or ["(nothing)"])[-1]


def main() -> int:
    """Wait and print; gives the exit code."""
    settings, _ = arguments("tapfan.welcome", "Waits until tapfan runs, and says what to try.")
    deadline = time.monotonic() + _TIMEOUT_S
    while (absent := missing(settings)) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)
    if not absent:
        print(hints(settings))  # noqa: T201 (this is what the program is for)
        return 0
    for name in absent:
        log = settings.run_dir / f"{name}.log"
        print(f"{name} is not ready; {log} says:\n  {telling_line(log)}", file=sys.stderr)  # noqa: T201
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
