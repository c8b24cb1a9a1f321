"""Edits of tapfan.toml: one writer more or less, and every other byte as it was."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.membership.configuration import as_text, names_in, with_writer, without_writer, writer_in
from tapfan.membership.passages import EditError
from tests.process.running import ROOT

_OWN = (ROOT / "tapfan.toml").read_text(encoding="utf-8")
_C: dict[str, str | float] = {"name": "c", "redis": "redis://10.0.0.3:6379/0", "weight": 20.0}

_TRICKY = ['x = ["a", # one', '  "b"]', 'y = """', "[[writers ", '"""']

_comments = st.sampled_from(["# of this", "#", "  # further in", "# [[writers]]", '# password = "…"'])
_blanks = st.sampled_from(["", "", "  "])
_between = st.lists(_comments | _blanks, max_size=4)
_names = st.from_regex(r"\A[A-Za-z0-9_-]{1,8}\Z")
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_weights = st.floats(0, 1e9) | st.integers(0, 10**9).map(float)


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


@st.composite
def _sections(draw: st.DrawFn, name: str) -> dict[str, str | float]:
    section: dict[str, str | float] = {"name": name, "redis": draw(_texts), "weight": draw(_weights)}
    return section | draw(st.dictionaries(st.sampled_from(["layout", "password_file", "rampup"]), _texts))


@st.composite
def _files(draw: st.DrawFn) -> str:
    """A configuration with writers, here and there, and whatever people leave between them."""
    names = draw(st.lists(_names, min_size=1, max_size=4, unique=True))
    lines = [*draw(_between), 'ttl = "5m"', *draw(_between)]
    others = draw(st.lists(st.sampled_from(["listener", "router", "control"]), unique=True))
    for head in draw(st.permutations([*names, *(f"[{other}]" for other in others)])):
        if head.startswith("["):
            lines += [head, *draw(_between), *_TRICKY, *draw(_between)]
            continue
        first, *rest = _lines(as_text(draw(_sections(head))))
        opening = draw(st.sampled_from([first, "[[ writers ]]", "  [[writers]]   # another one", '[["writers"]]']))
        lines += [opening, *draw(_between), *rest, *draw(_between)]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(lines) + draw(st.sampled_from(["", end, end + end]))


@given(_files(), st.data())
def test_a_writer_comes_and_goes_and_nothing_else_changes(text: str, data: st.DataObject) -> None:
    name = data.draw(_names.filter(lambda name: name not in names_in(text)))
    section = data.draw(_sections(name))
    before = tomllib.loads(text.replace("\r\n", "\n"))

    added = with_writer(text, section)

    after = tomllib.loads(added.replace("\r\n", "\n"))
    sections: list[dict[str, Any]] = after.pop("writers")
    assert sections == [*before.pop("writers"), section]
    assert after == before
    assert writer_in(added, name) == section
    end = "\r\n" if "\r\n" in text else "\n"
    assert as_text(section).replace("\n", end) in added
    extended = iter(_lines(added))
    assert all(line in extended for line in _lines(text))  # in the same order
    assert without_writer(added, name) in (text, text + end)


@given(_files(), st.data())
def test_any_writer_goes_with_its_own_lines_only(text: str, data: st.DataObject) -> None:
    names = names_in(text)
    name = data.draw(st.sampled_from(names))
    before = tomllib.loads(text.replace("\r\n", "\n"))

    left = without_writer(text, name)

    after = tomllib.loads(left.replace("\r\n", "\n"))
    assert after.pop("writers", []) == [section for section in before.pop("writers") if section["name"] != name]
    assert after == before
    remaining = iter(_lines(text))
    assert all(line in remaining for line in _lines(left))  # in the same order, and none is new
    assert names_in(left) == [other for other in names if other != name]


def test_the_projects_own_file_gets_it_at_its_end() -> None:
    assert with_writer(_OWN, _C) == (
        _OWN + '\n[[writers]]\nname = "c"\nredis = "redis://10.0.0.3:6379/0"\nweight = 20\n'
    )
    assert without_writer(with_writer(_OWN, _C), "c") == _OWN


def test_of_the_projects_own_file_a_goes_with_its_comments() -> None:
    left = without_writer(_OWN, "a")
    begin, end = _OWN.index("\n[[writers]]") + 1, _OWN.index('[[writers]]\nname = "b"')
    assert left == _OWN[:begin] + _OWN[end:]


def test_comments_above_a_header_are_its_own_and_those_set_apart_are_nobodys() -> None:
    text = """# all

# of a
[[writers]]
name = "a"
# password

# nobody's

# of b
[[writers]]
name = "b"

# of control
[control]
"""
    assert without_writer(text, "a") == text.replace('# of a\n[[writers]]\nname = "a"\n# password\n\n', "")
    assert without_writer(text, "b") == text.replace('# of b\n[[writers]]\nname = "b"\n\n', "")
    added = with_writer(text, _C)
    assert added == text.replace("# of control", f"{as_text(_C)}\n# of control")


@pytest.mark.parametrize("text", ["ttl", "x = 1\nx = 2", "\0"])
def test_what_is_no_toml_is_not_edited(text: str) -> None:
    with pytest.raises(EditError, match="not valid TOML"):
        with_writer(text, _C)


@pytest.mark.parametrize(
    "text",
    ['writers = [{name = "a"}]', "writers = 1", 'x = """\n[[writers]]\n"""', 'writers = []\nx = """\n[[writers]]\n"""'],
)
def test_writers_in_another_form_are_left_to_the_user_who_is_told_what_to_write(text: str) -> None:
    with pytest.raises(EditError, match=r'by hand:\n\[\[writers\]\]\nname = "c"\nredis = "redis://10'):
        with_writer(text, _C)


def test_an_edit_that_would_change_something_else_is_not_made() -> None:
    text = '[[writers]]\nname = "a"\nx = """\n[[writers]]\n"""\n[[writers]]\nname = "b"\n'
    with pytest.raises(EditError, match="in another form"):
        without_writer(text, "a")
    hidden = '[[writers]]\nname = "a"\nx = """\n[control]\n# """\n[[writers]]\nname = "b"\n'
    with pytest.raises(EditError, match="cannot be edited safely here; remove the writer a"):
        without_writer(hidden, "a")


@pytest.mark.parametrize(("name", "count"), [("c", 0), ("a", 2)])
def test_only_one_writer_of_that_name_is_removed(name: str, count: int) -> None:
    with pytest.raises(EditError, match=f"has {count} writers that are named {name}"):
        without_writer('[[writers]]\nname = "a"\n[[writers]]\nname = "a"\n', name)
