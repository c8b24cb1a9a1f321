"""docs/control.md, as far as tests read it: its tables, and its examples of requests and replies."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.process.running import ROOT

TEXT = (ROOT / "docs" / "control.md").read_text(encoding="utf-8")
_SECTION = re.compile(r"^(#{2,3}) (.+)$", re.MULTILINE)
_ROW = re.compile(r"^\| ([^|]+) \|", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A request, and what it got."""

    request: dict[str, Any]
    reply: dict[str, Any]


def section(title: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    headings = list(_SECTION.finditer(TEXT))
    (found,) = (heading for heading in headings if heading[2] == title)
    level = len(found[1])
    end = next(
        (heading.start() for heading in headings if heading.start() > found.start() and len(heading[1]) <= level), None
    )
    return TEXT[found.end() : end]


def names(title: str) -> list[str]:
    """What stands as code in the first column of the tables of a section."""
    return [name for row in _ROW.finditer(section(title)) for name in _CODE.findall(row[1])]


def examples() -> Iterator[Example]:
    """Each request with the reply that follows it in the same block, in the order of the document."""
    for block in _BLOCK.finditer(section("Commands")):
        request, reply = _documents(block[1])
        yield Example(request, reply)


def _documents(text: str) -> list[dict[str, Any]]:
    decoder, at, found = json.JSONDecoder(), 0, []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found
