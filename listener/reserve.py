"""Room on a disk that is kept from being used, to be given back when the disk is full and a little room is needed."""

import os
from pathlib import Path


class Reserve:
    """A file of that size, which holds nothing."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def take(self) -> bool:
        """Have the room, if there is so much; whether it is there now."""
        try:
            with self._path.open("ab") as file:
                if os.fstat(file.fileno()).st_size < self._size:
                    os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the room back."""
        self._path.unlink(missing_ok=True)
