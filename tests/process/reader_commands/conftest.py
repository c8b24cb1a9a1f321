"""Redis servers with records, and terminals."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.process.reader_commands.commands import (
    COMMAND,
    FEW,
    IPV6,
    IPV6_SERVER,
    MANY,
    SYN,
    WIDTH,
    Live,
    OpenTerminal,
    Stored,
    configuration,
    made,
)
from tests.process.terminals import Terminal
from tests.tapfan.reader.storing import put_block, put_records
from tests.writers.servers import Server


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """3,000 records: the first 1,000 with a key each, 1,900 in a block, and the IPv6 ones in both databases."""
    folder = tmp_path_factory.mktemp("stored")
    with closing(Server(folder / "a")) as a, closing(Server(folder / "b")) as b:
        put_records(a, made(1000, 0, FEW, 60.0, SYN, "198.51.100.200").batch)
        put_block(b, made(1900, 1000, MANY, 59.0, destination="198.51.100.200").batch)
        last = made(100, 2900, IPV6, 58.0, destination=IPV6_SERVER).batch
        put_block(a, last)
        put_block(b, last)
        absent = folder / "absent.sock"
        yield Stored(
            configuration(folder / "whole", a.path, b.path),
            configuration(folder / "partial", a.path, b.path, absent),
            configuration(folder / "nothing", absent),
        )


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with closing(Server(tmp_path / "redis")) as server:
        yield Live(server, configuration(tmp_path, server.path))


@pytest.fixture
def terminal() -> Iterator[OpenTerminal]:
    """Runs the command on terminals of 80 columns, which are closed after the test."""
    with ExitStack() as stack:

        def run(*arguments: str | Path, **environment: str) -> Terminal:
            opened = Terminal([*COMMAND, *map(str, arguments)], {"TERM": "xterm-256color"} | environment, WIDTH)
            return stack.enter_context(closing(opened))

        yield run
