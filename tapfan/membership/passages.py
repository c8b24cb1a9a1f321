"""Passages of a text file: a header, what is below it up to the next one, and the comments that are its own.

The comments directly above a header belong to its passage; those that blank lines set apart from it are nobody's, and
stay. What is put in is such that cutting it out again gives the text as it was, apart from the end of a last line that
had none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


class EditError(Exception):
    """Raised when a file cannot be edited such that nothing else in it changes; its text says what to do by hand."""


@dataclass(frozen=True)
class Passage:
    """Numbers of lines: its first one, its header, the one after its last, and the next that is not blank."""

    begin: int
    head: int
    end: int
    after: int


def lines_of(text: str) -> list[str]:
    """The lines, each with its own end."""
    return _LINE.findall(text)


def line_end(line: str) -> str:
    """How that line ends, or would."""
    return "\r\n" if line.endswith("\r\n") else "\n"


def passages(lines: Sequence[str], heads: Sequence[int], comments: str) -> list[Passage]:
    """That of each header, all of which are given by their numbers; `comments`: the characters that begin one."""
    begins = [_begin(lines, head, before + 1, comments) for before, head in zip([-1, *heads], heads, strict=False)]
    ends = [*begins[1:], len(lines)] if heads else []
    return [_passage(lines, *place, comments) for place in zip(begins, heads, ends, strict=True)]


def put_after(lines: Sequence[str], passage: Passage, added: Sequence[str]) -> list[str]:
    """The lines with more of them behind a passage, set apart as that one is from the next."""
    before, behind = [*lines[: passage.after]], lines[passage.after :]
    if behind:
        return [*before, *added, *lines[passage.end : passage.after], *behind]
    end = line_end(lines[passage.head])
    before[-1] = before[-1].removesuffix("\n").removesuffix("\r") + line_end(before[-1] if "\n" in before[-1] else end)
    return [*before, end, *added]


def cut(lines: Sequence[str], passage: Passage) -> list[str]:
    """The lines without a passage, and without what set it apart."""
    begin = passage.begin
    if passage.after == len(lines) and begin and not lines[begin - 1].strip():
        begin -= 1
    return [*lines[:begin], *lines[passage.after :]]


def _begin(lines: Sequence[str], head: int, floor: int, comments: str) -> int:
    begin = head
    while begin > floor and _is_comment(lines[begin - 1], comments):
        begin -= 1
    return begin


def _passage(lines: Sequence[str], begin: int, head: int, limit: int, comments: str) -> Passage:
    end = limit
    while end > head + 1 and (not lines[end - 1].strip() or _is_comment(lines[end - 1], comments)):
        end -= 1
    while end < limit and _is_comment(lines[end], comments):
        end += 1
    after = end
    while after < limit and not lines[after].strip():
        after += 1
    return Passage(begin, head, end, after)


def _is_comment(line: str, comments: str) -> bool:
    return line.lstrip().startswith(tuple(comments))
