"""What an answer lacks, in words that are fit for a terminal."""

from tapfan.cli.invocation import printable
from tapfan.reader import Reader


def lacking(reader: Reader) -> list[str]:
    """The Redis databases that did not answer, and what was skipped."""
    return [printable(problem) for problem in reader.problems] + skipped(reader)


def skipped(reader: Reader) -> list[str]:
    """One line with what was skipped, by reason; none where nothing was."""
    counts = reader.skipped
    if not counts:
        return []
    total = sum(counts.values())
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in counts.items())
    return [f"skipped {total:,} {'key that is' if total == 1 else 'keys that are'} not ours: {reasons}"]
