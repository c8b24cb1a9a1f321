"""What was found as rows that are sorted by time, each record once."""

import numpy as np

from tapfan.batch import COLUMNS, Column, Records
from tapfan.reader.found import Found

_ROW = np.dtype(
    [("identity", "<u8")]
    + [(name, dtype) if width == 1 else (name, dtype, (width,)) for name, (dtype, width) in COLUMNS.items()]
)


def rows(found: Found) -> Column:
    """A row for each."""
    made = np.empty(len(found), _ROW)
    made["identity"] = found.identity
    for name in COLUMNS:
        made[name] = getattr(found.records, name)
    return made


def found(some: Column) -> Found:
    """What rows were made of."""
    columns = (np.ascontiguousarray(some[name]) for name in COLUMNS)
    return Found(Records(*columns), np.ascontiguousarray(some["identity"]))


def settle(some: Column) -> Column:
    """The rows by time, and at one time by identity; of those with the same of both, one."""
    order = np.lexsort((some["identity"], some["timestamp"]))
    ordered = some[order]
    kept = np.ones(len(ordered), bool)
    before, after = ordered[:-1], ordered[1:]
    kept[1:] = (before["identity"] != after["identity"]) | (before["timestamp"] != after["timestamp"])
    return ordered if kept.all() else ordered[kept]


def key(some: Column) -> list[Column]:
    """What `settle` sorts by."""
    return [some["timestamp"], some["identity"]]
