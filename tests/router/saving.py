"""What operators want, saved and loaded."""

from pathlib import Path

import structlog

from router.history import History
from router.intent import Intent, Member, Ramp
from router.remembered import Remembered
from router.saved import ControlFile
from tests.router.wanting import TTL_MS

NOW_S = 1_800_000_000.0
NOTHING = Remembered()


def intent_of(*, version: int = 1, ttl_ms: int = TTL_MS, ramp: Ramp | None = None, **members: Member | float) -> Intent:
    """An intent with these members, or weights, that are configured as they are set."""
    made = {
        name: member if isinstance(member, Member) else Member(f"redis://{name}:6379/0", float(member), float(member))
        for name, member in members.items()
    }
    return Intent(version, ttl_ms, made, ramp)


def control_file(path: Path, configured: Intent | None = None) -> ControlFile:
    return ControlFile(path, configured or intent_of(a=1), structlog.get_logger())


def load(path: Path, configured: Intent) -> tuple[Intent, History]:
    intent, history, _ = control_file(path, configured).load(NOW_S)
    return intent, history
