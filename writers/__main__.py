"""`python -m writers NAME`: one writer process."""

import sys
from functools import partial

from tapfan.arguments import arguments
from tapfan.program import bad_usage
from tapfan.running import run
from tapfan.settings import SettingsError
from writers.service import serve


def main() -> int:
    """Run the named writer; gives the exit code."""
    settings, chosen = arguments("writers", "Stores the router's shares in one Redis.", name="the writer's name")
    try:
        settings.writer(chosen.name)
    except SettingsError as error:
        bad_usage("writers", error)
    return run(f"writer-{chosen.name}", partial(serve, chosen.name), settings)


if __name__ == "__main__":
    sys.exit(main())
