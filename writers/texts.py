"""Columns of ASCII text, and how they are joined to lines, without a loop over the records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Lengths = NDArray[np.int64]

_SLACK = 64  # what a line's last field but one may leave behind it, before the last overwrites it


@dataclass(frozen=True)
class Text:
    """One text for each record: the first `lengths` bytes of its row of `rows`, of shape (n, width).

    Where `lengths` is None the texts fill their rows.
    """

    rows: Bytes
    lengths: Lengths | None = None

    @property
    def width(self) -> int:
        """The bytes of a row."""
        return int(self.rows.shape[1])


Field = bytes | Text  # bytes: the same text for all records


def length(field: Field) -> int | Lengths:
    """How long a field's texts are."""
    if isinstance(field, bytes):
        return len(field)
    return field.width if field.lengths is None else field.lengths


def join(fields: Sequence[Field], count: int) -> memoryview:
    """Each record's fields one after the other, record after record.

    The fields are first merged to rows of which only the end varies in length. All records' first rows are then
    written, then all their second ones and so on: each overwrites the padding of the one before.
    The last field must be fixed, and as long as any field's padding.
    """
    runs = list(_runs(fields, count))
    line = sum((length(run) for run in runs), np.zeros(count, np.int64))
    ends = np.cumsum(line)
    flat = np.empty(int(ends[-1]) + _SLACK, np.uint8)
    position = ends - line
    for run in runs:
        windows = np.ndarray(len(flat) - run.width + 1, f"V{run.width}", flat.data, strides=(1,))
        windows[position] = run.rows.view(f"V{run.width}").ravel()
        position = position + length(run)
    return flat.data[: int(ends[-1])]


def _runs(fields: Sequence[Field], count: int) -> Iterator[Text]:
    run: list[Field] = []
    for field in fields:
        run.append(field)
        if isinstance(field, Text) and field.lengths is not None:
            yield _merged(run, count)
            run = []
    if run:
        yield _merged(run, count)


def _merged(run: Sequence[Field], count: int) -> Text:
    """The fields as one; only the last may vary in length."""
    template = b"".join(field if isinstance(field, bytes) else bytes(field.width) for field in run)
    rows = np.empty((count, len(template)), np.uint8)
    rows.view(f"V{len(template)}")[:] = np.void(template)
    at = 0
    for field in run:
        if isinstance(field, bytes):
            at += len(field)
            continue
        form = f"V{field.width}"
        place = np.ndarray(count, form, rows.data, at, (len(template),))
        place[:] = np.ascontiguousarray(field.rows).view(form).ravel()
        at += field.width
    last = run[-1]
    if isinstance(last, bytes) or last.lengths is None:
        return Text(rows)
    return Text(rows, last.lengths + (at - last.width))
