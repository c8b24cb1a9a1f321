"""Records as Python's own values, one by one."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from tapfan.batch import Column
from tapfan.endpoints import address_text
from tapfan.flags import TEXTS as FLAG_TEXTS
from tapfan.reader.found import Found
from tapfan.reader.identities import Streams
from tapfan.reader.query import Record

_text = lru_cache(maxsize=65_536)(address_text)


def plain(found: Found, streams: Streams) -> Iterator[Record]:
    """A record for each."""
    records = found.records
    columns = (
        records.timestamp.tolist(),
        _texts(records.source),
        records.source_port.tolist(),
        _texts(records.destination),
        records.destination_port.tolist(),
        (FLAG_TEXTS[flags] for flags in records.flags.tolist()),
        records.segments.tolist(),
        found.identity.tolist(),
    )
    for *values, identity in zip(*columns, strict=True):
        yield Record._make((*values, *streams.identity(identity)))


def _texts(addresses: Column) -> Iterator[str]:
    data = np.ascontiguousarray(addresses).tobytes()
    return (_text(data[at : at + 16]) for at in range(0, len(data), 16))
