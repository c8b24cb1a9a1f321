"""Talkers as text: a table for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence

from tapfan.cli.aligned import Aligned
from tapfan.cli.timestamps import local_times, seconds
from tapfan.reader import By, Ranking

BY: tuple[By, ...] = ("source", "destination", "pair", "port")


def rows(ranking: Ranking, by: By) -> list[str]:
    """The lines of the table, those with the most packets first; none without talkers."""
    talkers = ranking.talkers
    if not talkers:
        return []
    titles = ("source", "destination") if by == "pair" else (by,)
    # Addresses come last: where two of IPv6 are too long for the line, only the second one is in the next.
    return Aligned(">packets", ">share", "first seen", "last seen", *titles).lines(
        [f"{talker.packets:,}" for talker in talkers],
        [f"{talker.share:.1%}" for talker in talkers],
        local_times([talker.first_ns for talker in talkers]),
        local_times([talker.last_ns for talker in talkers]),
        *zip(*(talker.key for talker in talkers), strict=True),
    )


def summary(ranking: Ranking, by: By, window: str) -> str:
    """One line: how many there are in all, and when; `window`: that in words."""
    return f"{_counted(ranking.total, 'packet')} of {_counted(ranking.keys, by)} {window}"


def as_json(ranking: Ranking, by: By, problems: Sequence[str], skipped: Mapping[str, int]) -> str:
    """One line: {"by", "packets", "keys", "talkers": [talker], "problems": [text], "skipped": {reason: count}}.

    A talker: {"source", "destination", both or "port"; "packets", "share", "first", "last"}, with times in seconds.
    """
    talkers = ",".join(
        f'{{{_key(talker.key, by)},"packets":{talker.packets},"share":{json.dumps(talker.share)},'
        f'"first":{seconds(talker.first_ns)},"last":{seconds(talker.last_ns)}}}'
        for talker in ranking.talkers
    )
    return (
        f'{{"by":"{by}","packets":{ranking.total},"keys":{ranking.keys},"talkers":[{talkers}],'
        f'"problems":{json.dumps(list(problems))},"skipped":{json.dumps(dict(skipped))}}}'
    )


def _key(key: tuple[str, ...], by: By) -> str:
    if by == "port":
        return f'"port":{key[0]}'
    names = ("source", "destination") if by == "pair" else (by,)
    return ",".join(f'"{name}":"{address}"' for name, address in zip(names, key, strict=True))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
