"""Talkers as text: a table for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence

from tapfan.cli.aligned import Aligned
from tapfan.cli.output import local_time, seconds
from tapfan.reader import By, Ranking

BY: tuple[By, ...] = ("source", "destination", "pair", "port")


def table(ranking: Ranking, by: By, window: str) -> list[str]:
    """The table's lines, and one with what they are of; `window`: when, in words."""
    if not ranking.talkers:
        return [f"no packets {window}"]
    titles = ("source", "destination") if by == "pair" else (by,)
    rows = Aligned(*titles, ">packets", ">share", "first seen", "last seen")
    talkers = ranking.talkers
    lines = rows.lines(
        *zip(*(talker.key for talker in talkers), strict=True),
        [f"{talker.packets:,}" for talker in talkers],
        [f"{talker.share:.1%}" for talker in talkers],
        [local_time(talker.first_ns) for talker in talkers],
        [local_time(talker.last_ns) for talker in talkers],
    )
    keys = _counted(ranking.keys, by)
    some = keys if len(talkers) == ranking.keys else f"{len(talkers):,} of {keys}"
    return [*lines, f"{some}, {_counted(ranking.total, 'packet')} {window}"]


def as_json(ranking: Ranking, by: By, problems: Sequence[str], skipped: Mapping[str, int]) -> str:
    """One line: {"by", "packets", "keys", "talkers": [{…, "packets", "share", "first", "last"}], "problems", "skipped"}.

    A talker has "source", "destination", both or "port"; times are seconds with nanoseconds.
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
