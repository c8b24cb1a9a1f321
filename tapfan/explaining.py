"""What is wrong with values of the configuration, in words: what pydantic found, and what is valid in its place."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tapfan import durations, names, values

_KINDS = {
    "missing": "missing",
    "model_type": "must be a table: [listener], [router], [control] once, and [[writers]] for each writer",
    "string_pattern_mismatch": names.VALID,  # nothing but names has a pattern
    "string_type": "must be a text, in quotes",
    "too_short": "must have at least one entry",
    "tuple_type": "must be a list",
}
_NUMBERS = ("greater_than_equal", "less_than_equal", "finite_number")
_UNIT_MS = 1000.0


def problem(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """What is valid, for an error that pydantic found in the content of that model; without the key and its value."""
    kind, place = error["type"], error["loc"]
    if kind == "extra_forbidden":
        return _unknown(str(place[-1]), list(_section(model, place).model_fields))
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}"
    if kind == "too_long":
        return f"must have at most {error['ctx']['max_length']} entries"
    if kind.startswith("bool_"):
        return "must be true or false"
    if kind.startswith("int_") or kind in _NUMBERS:
        return _number(str(place[-1]), _section(model, place).model_fields[place[-1]], error["input"])
    return _KINDS.get(kind) or str(error["msg"]).removeprefix("Value error, ")


def _unknown(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key.lower(), known, n=1)
    return f"unknown key; did you mean {close[0]}?" if close else f"unknown key; there are: {', '.join(known)}"


def _section(model: type[BaseModel], place: tuple[Any, ...]) -> type[BaseModel]:
    """The model of the section that the key at that place is in."""
    for part in place[:-1]:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = next(found for found in (annotation, *get_args(annotation)) if _is_model(found))
    return model


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


def _number(key: str, field: FieldInfo, value: Any) -> str:
    """What a whole number or a duration must be; both have bounds."""
    terms = list(_terms(field))
    least, most = (next(getattr(term, name) for term in terms if hasattr(term, name)) for name in ("ge", "le"))
    if any(getattr(term, "func", None) is values.seconds for term in terms):
        told = f"must be {f'from {durations.text(least)} to' if least else 'at most'} {durations.text(most)}"
        if not isinstance(value, str) and least <= value / _UNIT_MS <= most:
            told += f'; a number without a unit is seconds: did you mean "{value:g}ms"?'
        return told
    unit, default = (" of bytes", f", such as {field.default}") if key.endswith("_bytes") else ("", "")
    return f"must be a whole number{unit} from {least} to {most}{default}"


def _terms(field: FieldInfo) -> Iterator[Any]:
    """The validators and bounds of a field, also of one that may be None."""
    yield from field.metadata
    for option in get_args(field.annotation):
        for term in getattr(option, "__metadata__", ()):
            yield from term.metadata if isinstance(term, FieldInfo) else [term]
