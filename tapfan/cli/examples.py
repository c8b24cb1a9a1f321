"""What stands at the end of each command's help: examples to run, and the exit codes."""

_EXAMPLES = {
    "status": (
        ("status", ""),
        ("status --json | jq .ledger.stored", "for programs"),
    ),
    "weights": (
        ("weights", "what is in force"),
        ("weights a=30 b=70", "all at once, or none"),
        ("weights a=+10 b=50%", "10 more; half of the configured"),
        ("weights a=70 b=30 --over 60s", "in steps"),
        ("weights --cancel", "stop the ramp where it is"),
        ("weights a=40 --if-version 7 --reason 'a has more memory'", ""),
    ),
    "drain": (
        ("drain b --reason 'new disk'", ""),
        ("drain b --wait --timeout 60s || tapfan ready b", "or back again"),
    ),
    "maint": (
        ("maint b --wait && supervisorctl stop writer-b", ""),
        ("ready b", "afterwards"),
    ),
    "ready": (
        ("ready b", "b gets its share again"),
        ("ready a b --reason 'the disk is in'", ""),
    ),
    "ttl": (
        ("ttl", "what is in force"),
        ("ttl 10m --reason 'more to look at'", "for the records to come"),
    ),
    "history": (
        ("history", "the last 20 changes"),
        ("history --limit 500 | grep weights", ""),
        ("history --json | jq -r '.entries[0].by'", "who made the last one"),
    ),
    "undo": (
        ("undo", "what was done last; once more: that again"),
        ("undo 3 --reason 'as it was this morning'", ""),
    ),
}


def epilog(command: str, exit_codes: str) -> str:
    """The end of a command's help."""
    lines = [(f"  tapfan {example}", told) for example, told in _EXAMPLES[command]]
    width = max(len(example) for example, told in lines if told) if any(told for _, told in lines) else 0
    shown = [f"{example:{width}}  # {told}" if told else example for example, told in lines]
    return "\n".join(["\b", "Examples:", *shown, "", exit_codes])


def commands() -> dict[str, list[str]]:
    """The examples of each command, as they are typed."""
    return {command: [f"tapfan {example}" for example, _ in lines] for command, lines in _EXAMPLES.items()}
