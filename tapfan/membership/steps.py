"""Steps of which all are taken or, when one fails, those before it are taken back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What to do, and how to take it back however far it came; neither minds being done before."""

    do: Callable[[], None]
    undo: Callable[[], None]


def run(steps: Sequence[Step]) -> None:
    """Take the steps in order. Whatever ends that is raised, once those begun are taken back, last one first.

    What could not be taken back is told in the notes of the error.
    """
    begun: list[Step] = []
    try:
        for step in steps:
            begun.append(step)
            step.do()
    except BaseException as error:
        for step in reversed(begun):
            try:
                step.undo()
            except Exception as trouble:
                error.add_note(str(trouble))
        raise
