"""Edits of supervisord.conf: a section [program:writer-…] more or less, and every other byte as it was."""

import os
import re
from collections.abc import Collection, Iterator
from configparser import Error, RawConfigParser
from glob import glob
from pathlib import Path

from supervisor.datatypes import dict_of_key_value_pairs
from supervisor.options import expand

from tapfan.membership.passages import EditError, Passage, cut, line_end, lines_of, passages, put_after

_HEAD = re.compile(r"\[(?P<name>[^\n]+)\]")  # as configparser finds it, at a line's beginning
_COMMENTS = ";#"
_KEY = re.compile(r"(?P<key>[^=:\s]+)\s*[=:]")
_ARGUMENT = r"(?P<before>\bwriters(?:\s+--config(?:\s+|=)\S+)?\s+)(?P<quote>['\"]?){name}(?P=quote)(?=\s|$)"


def program_name(writer: str) -> str:
    """What supervisord calls that writer's process."""
    return f"writer-{writer}"


def program_in(text: str, writer: str) -> dict[str, str] | None:
    """The options of that writer's section; None where there is none. Raises EditError."""
    return _content(text).get(_section(writer))


def included_in(text: str, folder: Path) -> list[Path]:
    """The files that the text of one in that folder includes. Raises EditError."""
    patterns = _content(text).get("include", {}).get("files", "")
    known = {"here": str(folder)} | {f"ENV_{name}": value for name, value in os.environ.items()}
    try:
        wanted = expand(patterns, known, "include.files").split()
    except ValueError as error:
        raise EditError(f"supervisord's file cannot be read: {error}") from error
    return [Path(path) for pattern in wanted for path in sorted(glob(str(folder / pattern)))]  # noqa: PTH207 (any path)


def with_program(text: str, writer: str, known: Collection[str]) -> str:
    """The text with a section for one more writer, like that of the last of the known ones. Raises EditError."""
    content = _content(text)
    lines, found = _passages(text)
    models = [(name, passage) for name, passage in found if name in map(_section, known)]
    if not models:
        raise EditError(f"there is no section [program:writer-…] of {', '.join(known)} to model one for {writer} on")
    head, model = models[-1]
    added = list(_modelled(lines[model.head : model.end], head.removeprefix(_section("")), writer))
    edited = "".join(put_after(lines, model, added))
    _check(edited, content, writer, by_hand="add to it by hand:\n" + "".join(added))
    return edited


def without_program(text: str, writer: str) -> str:
    """The text without that writer's section, nor the comments that are its own. Raises EditError."""
    content = _content(text)
    lines, found = _passages(text)
    by_hand = f"remove the section [{_section(writer)}] from it by hand"
    passage = next((passage for name, passage in found if name == _section(writer)), None)
    if passage is None:
        raise EditError(by_hand)
    edited = "".join(cut(lines, passage))
    _check(edited, content, writer, by_hand)
    return edited


def _section(writer: str) -> str:
    return f"program:{program_name(writer)}"


def _content(text: str) -> dict[str, dict[str, str]]:
    """All sections, as supervisord reads them."""
    parser = RawConfigParser(inline_comment_prefixes=tuple(_COMMENTS), strict=False)
    try:
        parser.read_string(text.replace("\r\n", "\n"))
    except Error as error:
        raise EditError(f"supervisord's file cannot be read: {error}") from error
    return {name: dict(parser[name]) for name in parser.sections()}


def _passages(text: str) -> tuple[list[str], list[tuple[str, Passage]]]:
    """The lines, and the passage of each section."""
    lines = lines_of(text)
    heads = {number: match["name"] for number, line in enumerate(lines) if (match := _HEAD.match(line))}
    found = passages(lines, list(heads), _COMMENTS)
    return lines, [(heads[passage.head], passage) for passage in found]


def _modelled(model: list[str], old: str, new: str) -> Iterator[str]:
    """The lines of the new writer's section."""
    end = line_end(model[0])
    yield f"[{_section(new)}]{end}"
    for option in _options(model[1:]):
        match = _KEY.match(option)
        key = match["key"].lower() if match else ""
        renamed = re.sub(rf"(?<![A-Za-z0-9_-])writer-{old}(?![A-Za-z0-9_-])", f"writer-{new}", option)
        if key == "command":
            pattern = _ARGUMENT.format(name=re.escape(old))
            renamed, count = re.subn(pattern, rf"\g<before>\g<quote>{new}\g<quote>", renamed)
            if count != 1:
                raise EditError(f"the command of [{_section(old)}] does not name {old} as the writer to run")
        elif key == "environment":
            renamed = _environment(option, old, end)
        if renamed:
            yield renamed if renamed.endswith("\n") else renamed + end


def _options(lines: list[str]) -> Iterator[str]:
    """Each option with the lines that it goes on in; without comments and blank lines."""
    option = ""
    for line in lines:
        if not line.strip() or line.lstrip().startswith(tuple(_COMMENTS)):
            continue
        if line[0] in " \t" and option:
            option += line
            continue
        if option:
            yield option
        option = line
    if option:
        yield option


def _environment(option: str, old: str, end: str) -> str:
    """The option without the variables that are the old writer's own, such as its password; "" when none is left."""
    own = variables_of(old)
    if own not in option.upper():
        return option
    begin = _KEY.match(option)
    assert begin is not None  # it was found by it
    try:
        variables = dict_of_key_value_pairs(option[begin.end() :].strip())
    except ValueError as error:
        raise EditError(f"the environment of [{_section(old)}] cannot be read: {error}") from error
    kept = [f'{name}="{value}"' for name, value in variables.items() if not name.upper().startswith(own)]
    return f"{begin[0]} {','.join(kept)}{end}" if kept else ""


def variables_of(writer: str) -> str:
    """How the environment variables begin that override that writer's configuration."""
    return f"TAPFAN_WRITERS__{writer.upper()}__"


def _check(edited: str, before: dict[str, dict[str, str]], writer: str, by_hand: str) -> None:
    """See that the edit put in, or cut out, that section, and nothing else."""
    try:
        after = _content(edited)
    except EditError:
        after = {}
    own = _section(writer)
    if (own in after) == (own in before) or before | {own: {}} != after | {own: {}}:
        raise EditError(f"supervisord's file is written such that it cannot be edited safely here; {by_hand}")
