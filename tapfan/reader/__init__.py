"""Reads what the writers stored, from all their Redis databases at once, in both layouts: see `Reader`."""

from tapfan.reader.query import By, Query, Ranking, ReaderError, Record, Talker
from tapfan.reader.reader import Reader

__all__ = ["By", "Query", "Ranking", "Reader", "ReaderError", "Record", "Talker"]
