"""Who gets records by an intent alone: a change must leave somebody who does, at once and where a ramp leads to."""

from router.intent import Intent
from router.ramp import positions
from tapfan.control import ControlError


def check_somebody(before: Intent, after: Intent, now_s: float, force: bool) -> None:
    """Raise ControlError for a change that leaves nobody who gets records; `now_s`: since the epoch.

    With `force` only when no weight that is set would be more than 0. That nobody gets any yet, as a ramp begins or
    goes on, is well if nobody did before.
    """
    if not any(known.weight for known in after.members.values()):
        raise ControlError("bad_weight", "all weights would be 0; at least one must be more")
    if force:
        return
    if not any(known.weight for known in after.members.values() if known.state == "ready"):
        raise ControlError(
            "nobody_left",
            "no writer that is ready would have a weight above 0; what comes in would wait; it can be forced",
        )
    if _anybody_gets(before, now_s) and not _anybody_gets(after, now_s):
        raise ControlError(
            "nobody_left",
            "no writer that is ready would have a weight above 0 at this point of the ramp; what comes in would wait; "
            "it can be forced",
        )


def _anybody_gets(intent: Intent, now_s: float) -> bool:
    here = positions(intent, now_s)
    return any(here[name] for name, member in intent.members.items() if member.state == "ready")
