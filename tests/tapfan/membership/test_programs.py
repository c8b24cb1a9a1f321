"""Edits of supervisord.conf: one section more or less, and every other byte as it was."""

from configparser import RawConfigParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.membership.passages import EditError
from tapfan.membership.programs import included_in, program_in, with_program, without_program
from tests.process.running import ROOT

_OWN = (ROOT / "supervisord.conf").read_text(encoding="utf-8")
_C = """[program:writer-c]
command = python -m writers c
priority = 300
autorestart = unexpected
exitcodes = 0,2
startretries = 10
startsecs = 2
stopwaitsecs = 15
stdout_logfile = %(here)s/run/writer-c.log
redirect_stderr = true
"""

_comments = st.sampled_from(["; of this", "# of that", ";", "; [program:writer-z]", ";stopwaitsecs = 15"])
_between = st.lists(_comments | st.sampled_from(["", " "]), max_size=4)
_names = st.from_regex(r"\A[A-Za-z0-9_-]{1,8}\Z")
_options = st.lists(
    st.sampled_from(["priority = 300", "startsecs=2 ; seconds", "user: nobody", "exitcodes = 0,\n   2", "umask = 077"]),
    unique_by=lambda option: option.split()[0],
)


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _read(text: str) -> dict[str, dict[str, str]]:
    """What supervisord reads of it."""
    parser = RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text.replace("\r\n", "\n"))
    return {name: dict(parser[name]) for name in parser.sections()}


@st.composite
def _files(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A file with writers' sections among others, and the writers' names."""
    names = draw(st.lists(_names, min_size=1, max_size=3, unique=True))
    heads = [*names, "[supervisord]", "[program:router]", "[supervisorctl]"]
    lines = draw(_between)
    for head in draw(st.permutations(heads)):
        if head.startswith("["):
            lines += [head, *draw(_options), *draw(_between)]
            continue
        lines += [f"[program:writer-{head}]", *draw(_options), *draw(st.lists(_comments, max_size=1))]
        log = draw(st.sampled_from([f"stdout_logfile = %(here)s/run/writer-{head}.log", "redirect_stderr = true"]))
        lines += [f"command = python -m writers {head}{draw(st.sampled_from(['', ' --config %(here)s/x.toml']))}", log]
        lines += draw(_between)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = "\n".join(lines).replace("\n", end)
    return text + draw(st.sampled_from(["", end, end + end])), names


@given(_files(), st.data())
def test_a_section_comes_and_goes_and_nothing_else_changes(file: tuple[str, list[str]], data: st.DataObject) -> None:
    text, known = file
    name = data.draw(_names.filter(lambda name: name not in known))

    added = with_program(text, name, known)

    after = _read(added)
    section = after.pop(f"program:writer-{name}")
    assert after == _read(text)
    assert section == program_in(added, name)
    assert section["command"].split()[:4] == ["python", "-m", "writers", name]
    assert section.get("stdout_logfile") in (None, f"%(here)s/run/writer-{name}.log")
    extended = iter(_lines(added))
    assert all(line in extended for line in _lines(text))  # in the same order
    assert without_program(added, name) in (text, text + ("\r\n" if "\r\n" in text else "\n"))


@given(_files(), st.data())
def test_any_section_goes_with_its_own_lines_only(file: tuple[str, list[str]], data: st.DataObject) -> None:
    text, known = file
    name = data.draw(st.sampled_from(known))

    left = without_program(text, name)

    assert _read(left) == {head: options for head, options in _read(text).items() if head != f"program:writer-{name}"}
    remaining = iter(_lines(text))
    assert all(line in remaining for line in _lines(left))  # in the same order, and none is new


def test_the_projects_own_file_gets_one_like_the_others_behind_them() -> None:
    added = with_program(_OWN, "c", ["a", "b"])
    border = "; stopwaitsecs: longer than [listener] grace"
    assert added == _OWN.replace(border, f"{_C}\n{border}")
    assert without_program(added, "c") == _OWN


def test_of_the_projects_own_file_b_goes_whole() -> None:
    left = without_program(_OWN, "b")
    begin, end = _OWN.index("[program:writer-b]"), _OWN.index("; stopwaitsecs: longer than [listener]")
    assert left == _OWN[:begin] + _OWN[end:]


@pytest.mark.parametrize(
    ("command", "new"),
    [
        ("python -m writers a", "python -m writers c"),
        ("/a/.venv/bin/python  -m  writers  'a'", "/a/.venv/bin/python  -m  writers  'c'"),
        ('python -m writers "a" ; the first', 'python -m writers "c"'),
        ("python -m writers a --config %(here)s/a/tapfan.toml", "python -m writers c --config %(here)s/a/tapfan.toml"),
        ("python -m writers --config %(here)s/a a", "python -m writers --config %(here)s/a c"),
        ("python -m writers --config=a a", "python -m writers --config=a c"),
        ("nice -n a python -m writers a", "nice -n a python -m writers c"),
        ("sh -c '. /a && exec python -m writers a'", None),
        ("run-a", None),
        ("python -m writers ab", None),
    ],
)
def test_the_command_runs_the_new_writer_and_keeps_the_rest(command: str, new: str | None) -> None:
    text = f"[program:writer-a]\ncommand = {command}\n"
    if new is None:
        with pytest.raises(
            EditError, match=r"the command of \[program:writer-a\] does not name a as the writer to run"
        ):
            with_program(text, "c", ["a"])
    else:
        assert (program_in(with_program(text, "c", ["a"]), "c") or {})["command"] == new


@pytest.mark.parametrize(
    ("environment", "new"),
    [
        ('environment = TAPFAN_WRITERS__A__PASSWORD="secret"', None),
        ('environment = TAPFAN_WRITERS__A__PASSWORD="secret",LANG="C"', 'LANG="C"'),
        ('environment: LANG="C",\n  tapfan_writers__a__weight="1",\n  TAPFAN_TTL="10m"', 'LANG="C",TAPFAN_TTL="10m"'),
        ('environment = PATH="%(here)s/bin:%(ENV_PATH)s"', 'PATH="%(here)s/bin:%(ENV_PATH)s"'),
    ],
)
def test_variables_of_another_writer_such_as_its_password_are_not_copied(environment: str, new: str | None) -> None:
    text = f"[program:writer-a]\n{environment}\ncommand = python -m writers a\n"
    assert (program_in(with_program(text, "c", ["a"]), "c") or {}).get("environment") == new


def test_a_name_that_is_part_of_others_is_not_replaced_in_them() -> None:
    text = "[program:writer-a]\ncommand = python -m writers a\nstdout_logfile = /writer-a-b/writer-a.log\n"
    added = with_program(text, "c", ["a"])
    assert (program_in(added, "c") or {})["stdout_logfile"] == "/writer-a-b/writer-c.log"


def test_without_a_section_to_model_it_on_it_is_not_guessed() -> None:
    with pytest.raises(EditError, match=r"no section \[program:writer-…\] of a, b to model one for c on"):
        with_program("[program:router]\ncommand = x\n", "c", ["a", "b"])
    with pytest.raises(EditError, match="cannot be read"):
        with_program("command = x\n", "c", ["a"])


def test_a_section_that_is_there_twice_is_left_to_the_user() -> None:
    text = "[program:writer-a]\ncommand = python -m writers a\n[program:writer-a]\npriority = 1\n"
    with pytest.raises(EditError, match=r"cannot be edited safely here; remove the section \[program:writer-a\]"):
        without_program(text, "a")
    with pytest.raises(EditError, match=r"remove the section \[program:writer-z\]"):
        without_program(text, "z")


def test_sections_may_be_in_files_that_are_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf.d").mkdir()
    files = [tmp_path / "conf.d" / name for name in ("b.conf", "a.conf")]
    for file in files:
        file.touch()
    monkeypatch.setenv("OTHER", str(files[0]))
    text = "[include]\nfiles = conf.d/*.conf %(here)s/conf.d/a.* %(ENV_OTHER)s none/*\n"
    assert included_in(text, tmp_path) == [files[1], files[0], files[1], files[0]]
    assert included_in("[supervisord]\n", tmp_path) == []
    with pytest.raises(EditError, match=r"cannot be read: .*include\.files"):
        included_in("[include]\nfiles = %(unknown)s\n", tmp_path)
