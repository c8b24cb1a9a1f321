"""Whatever value a key of the configuration has: it is taken, or refused in words of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.sections import ControlSettings, ListenerSettings, RouterSettings, Section, WriterSettings
from tapfan.settings import Settings, SettingsError, load, load_reach
from tests.tapfan.conftest import WRITERS

_SECTIONS: dict[str, type[Section]] = {
    "listener": ListenerSettings,
    "router": RouterSettings,
    "control": ControlSettings,
    "writers": WriterSettings,
}
_KEYS = [(name, key) for name, section in _SECTIONS.items() for key in section.model_fields]
_KEYS += [("", key) for key in Settings.model_fields]
_WRITER = {"name": '"c"', "redis": '"redis://h"', "weight": "1"}
_VALUES = st.sampled_from(
    [
        *("nan", "inf", "-inf", "1e400", "1e-300", "3.5", "-1", "0", "1", "1" + "0" * 400, "true", "1979-05-27"),
        *(
            '"x"',
            '""',
            '"10q"',
            '"-5s"',
            '"99999999d"',
            '"a\\u0000"',
            f'"{"x" * 300}"',
            '"redis://h:99999/x"',
            f'"redis://h/{"1" * 5000}"',
        ),
        *("[]", "{}", '["a"]', "[1, 2]", "[[1]]", "[{}]", "{ a = 1 }"),
    ]
)


@given(st.sampled_from(_KEYS), _VALUES)
def test_it_is_taken_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, str], value: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    file.write_text(_text(*place, value))
    for read in (load, load_reach):
        told = f"{file}: "
        try:
            read(file)
        except SettingsError as error:
            told = str(error)
        assert told.startswith(f"{file}: ")
        assert "Input should" not in told


def _text(section: str, key: str, value: str) -> str:
    if section == "writers":
        return WRITERS + "[[writers]]\n" + "".join(f"{k} = {v}\n" for k, v in (_WRITER | {key: value}).items())
    if not section:
        return f"{key} = {value}\n" + ("" if key == "writers" else WRITERS)
    return f"[{section}]\n{key} = {value}\n{WRITERS}"
