"""What was read: records with their identities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tapfan.batch import Column, Records


@dataclass(frozen=True, eq=False)
class Found:
    """Records (addresses of shape (n, 16)) and the identity of each (see `identities`)."""

    records: Records
    identity: Column

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, rows: slice | Column) -> Self:
        """Those of a slice (views) or of a mask or index (copies)."""
        return type(self)(self.records[rows], self.identity[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All the parts', in order; at least one part."""
        records = Records.concatenate([part.records for part in parts])
        return cls(records, np.concatenate([part.identity for part in parts]))
