"""Configurations to be read: those of one writer, and what is wrong with bad ones."""

from pathlib import Path

import pytest

from tapfan.settings import SettingsError, load

SECRET = "hunter2"


def one_writer(**changes: str) -> str:
    """A valid configuration of one writer, with some of its keys as given."""
    keys = {"name": '"a"', "redis": '"redis://127.0.0.1:7101/0"', "weight": "30"} | changes
    return "[[writers]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def error_of(file: Path) -> str:
    """The error of a bad configuration; it names the file in each line."""
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert all(str(file) in line for line in str(caught.value).splitlines())
    return str(caught.value)
