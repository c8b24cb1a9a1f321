"""What an answer lacks, in words."""

from collections.abc import Mapping

from tapfan.cli.invocation import printable
from tapfan.reader import Reader


def lacking(reader: Reader) -> list[str]:
    """The Redis databases that did not answer, and what was skipped; fit for a terminal."""
    problems = [printable(problem) for problem in reader.problems]
    return problems + ([_skipped(reader.skipped)] if reader.skipped else [])


def _skipped(skipped: Mapping[str, int]) -> str:
    total = sum(skipped.values())
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in skipped.items())
    return f"skipped {total:,} {'key that is' if total == 1 else 'keys that are'} not ours: {reasons}"
