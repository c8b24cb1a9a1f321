"""Fields of text, as the tests see them: plain lists of bytes."""

from writers.texts import Field


def texts(field: Field, count: int) -> list[bytes]:
    """The text of each of `count` records."""
    if isinstance(field, bytes):
        return [field] * count
    lengths = [field.width] * count if field.lengths is None else field.lengths.tolist()
    return [row.tobytes()[:length] for row, length in zip(field.rows, lengths, strict=True)]
