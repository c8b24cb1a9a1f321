"""Edits of tapfan.toml: a section [[writers]] more or less, and every other byte as it was."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from tapfan import redis_urls
from tapfan.membership.passages import EditError, Passage, cut, line_end, lines_of, passages, put_after

_HEAD = re.compile(r"[ \t]*\[\[?[ \t]*(?P<name>[A-Za-z0-9_.\"'\t -]+?)[ \t]*\]\]?[ \t]*(#.*)?\r?\n?")
_WRITERS = ("writers", '"writers"', "'writers'")

Section = Mapping[str, str | float]


def writer_in(text: str, name: str) -> dict[str, Any] | None:
    """What the section of that writer says; None where there is none. Raises EditError for what is not TOML."""
    return next((section for section in _sections(_content(text)) if section.get("name") == name), None)


def names_in(text: str) -> list[str]:
    """The names of all writers. Raises EditError for what is not TOML."""
    return [str(section.get("name")) for section in _sections(_content(text))]


def with_writer(text: str, section: Section) -> str:
    """The text with a section for one more writer, behind those that it has. Raises EditError."""
    content = _content(text)
    by_hand = f"add to it by hand:\n{_without_password(section)}"
    lines, found = _passages(text, content, by_hand)
    end = line_end(lines[found[-1].head])
    added = [line.removesuffix("\n") + end for line in lines_of(as_text(section))]
    edited = "".join(put_after(lines, found[-1], added))
    _check(edited, content | {"writers": [*_sections(content), dict(section)]}, by_hand)
    return edited


def without_writer(text: str, name: str) -> str:
    """The text without that writer's section, nor the comments that are its own. Raises EditError."""
    content = _content(text)
    by_hand = f"remove the writer {name} from it by hand"
    lines, found = _passages(text, content, by_hand)
    sections = _sections(content)
    numbers = [number for number, section in enumerate(sections) if section.get("name") == name]
    if len(numbers) != 1:
        raise EditError(f"the configuration has {len(numbers)} writers that are named {name}")
    edited = "".join(cut(lines, found[numbers[0]]))
    others = [section for section in sections if section.get("name") != name]
    expected = {key: value for key, value in content.items() if key != "writers"}
    _check(edited, expected | ({"writers": others} if others else {}), by_hand)
    return edited


def as_text(section: Section) -> str:
    """The section, as it is to be in the file."""
    return "\n".join(["[[writers]]", *(f"{key} = {_value(value)}" for key, value in section.items())]) + "\n"


def _without_password(section: Section) -> str:
    """The section, fit for a terminal and whoever sees it."""
    url = str(section["redis"])
    redacted = redis_urls.redacted(url)
    if redacted == url:
        return as_text(section)
    hint = "# without the user and the password of your URL: password_file names a file with the password"
    return f"{as_text({**section, 'redis': redacted})}{hint}\n"


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(int(value)) if value.is_integer() else repr(value)


def _content(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:
        raise EditError(f"the configuration is not valid TOML: {error}") from error


def _sections(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    sections = content.get("writers", [])
    return sections if isinstance(sections, list) else []


def _passages(text: str, content: Mapping[str, Any], by_hand: str) -> tuple[list[str], list[Passage]]:
    """The lines, and the passages of the writers, in order."""
    lines = lines_of(text)
    heads = {number: match["name"] for number, line in enumerate(lines) if (match := _HEAD.fullmatch(line))}
    found = [passage for passage in passages(lines, list(heads), "#") if heads[passage.head] in _WRITERS]
    if not found or len(found) != len(_sections(content)):
        raise EditError(f"the configuration has its writers in another form than as sections [[writers]]; {by_hand}")
    return lines, found


def _check(edited: str, expected: dict[str, Any], by_hand: str) -> None:
    """See that the edit changed what it was to change, and nothing else."""
    try:
        is_right = tomllib.loads(edited.replace("\r\n", "\n")) == expected
    except ValueError:
        is_right = False
    if not is_right:
        raise EditError(f"the configuration is written such that it cannot be edited safely here; {by_hand}")
