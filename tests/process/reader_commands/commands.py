"""What is stored, how the commands are run, and what they print."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner, Result

from tapfan.cli.__main__ import app
from tests.process.terminals import Terminal
from tests.tapfan.reader.storing import Made
from tests.writers.servers import Server

COMMAND = (sys.executable, "-m", "tapfan.cli")
SYN, ACK = 0x02, 0x10
FEW, MANY = "203.0.113.7", "203.0.113.117"
IPV6, IPV6_SERVER = "2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:7777"
WIDTH = 80
TITLES = ["time", "source", "destination", "flags", "segments"]
OpenTerminal = Callable[..., Terminal]


def made(count: int, first: int, source: str, age_s: float, flags: int = ACK, destination: str = "::1") -> Made:
    """Records of consecutive identities and source ports, the first one captured so long ago."""
    return Made(
        time.time_ns() - int(age_s * 1e9),
        count,
        first,
        sources=(source,),
        destinations=(destination,),
        source_ports=range(10_000 + first, 10_000 + first + count),
        destination_ports=(443,),
        flags=(flags,),
    )


def configuration(folder: Path, *sockets: Path) -> Path:
    """Of one writer to each of them, named a, b and so on."""
    folder.mkdir(exist_ok=True)
    file = folder / "tapfan.toml"
    writers = (
        f'[[writers]]\nname = "{chr(ord("a") + number)}"\nredis = "unix://{path}?db=0"\nweight = 1\n'
        for number, path in enumerate(sockets)
    )
    file.write_text("".join(writers), encoding="utf-8")
    return file


@dataclass(frozen=True)
class Stored:
    """Configurations of two Redis servers, of those and one that is not there, and of none that is."""

    whole: Path
    partial: Path
    absent: Path


@dataclass(frozen=True)
class Live:
    """A Redis server of a test's own, and the configuration that names it."""

    server: Server
    config: Path


def run(*arguments: str | Path) -> Result:
    """Run the command in this process, as if into a pipe: many starts would take long."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def parsed(text: str) -> list[dict[str, object]]:
    return [json.loads(line, parse_float=str) for line in text.splitlines()]
