"""The commands of `tapfan`: what each does, and in which module it is, which is imported once it is asked for.

So `tapfan status` does not wait for what only `tapfan query` needs.
"""

import re
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

COMMANDS = {  # the module, whose `app` has the command or is it, and the beginning of its help
    "status": ("status", "Show writers, listeners, and the ledger of what was captured and stored."),
    "watch": (
        "watch.command",
        "Show writers, listeners and events live, with keys that change weights and states; ? shows these.",
    ),
    "weights": ("steering", "Show the weights, or set those given, all at once."),
    "drain": ("steering", "Give writers no new records; they store what they have."),
    "maint": ("steering", "Give writers no new records: their process will be stopped."),
    "ready": ("steering", "Give writers records again, by their weights."),
    "ttl": ("steering", "Show how long a record lives, or set it."),
    "undo": ("steering", "Take back the last change, or all since a version."),
    "history": ("steering", "Show who changed what, when and why."),
    "add": ("membership", "Let there be one more writer, at once and for good."),
    "remove": ("membership", "Let there be a writer no more, once it has stored all that it was given."),
    "query": ("reading", "Show the records in time order: all that are kept, or those of a time."),
    "top": ("reading", "Show who had most packets, of all that are kept or in a time."),
    "follow": ("reading", "Show records as they are stored, until Ctrl-C."),
    "check": ("checking", "Check the configuration and this host, and say what would run."),
    "keys": ("keys", "Show the keys of this host and those that its router lets in; make, allow and revoke them."),
}


_IN_WORDS = {  # what is in place of how the reader of the command line says it
    r"Value error, ": "",
    r"Input should be a valid integer.*": "must be a whole number",
    r"Input should be greater than or equal to (\S+)": r"must be \1 or more",
    r"Input should be less than or equal to (\S+)": r"must be \1 or less",
}


class Commands(TyperGroup):
    """A group of COMMANDS. Its help, and what it says of a command that is none, are of what is written there."""

    def __init__(self, **attributes: Any) -> None:
        listed = {name: TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()}
        super().__init__(**attributes | {"commands": listed})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 (click's)
        """The command itself; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = get_command(import_module(f"tapfan.cli.{module}").app)
        return command.commands.get(cmd_name, command) if isinstance(command, TyperGroup) else command

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises BadParameter."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            for pattern, words in _IN_WORDS.items():
                error.message = re.sub(pattern, words, error.message)
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        TyperGroup(commands=dict(self.commands)).format_commands(ctx, formatter)
