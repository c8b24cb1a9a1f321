"""Which source of records is chosen, and what is told when there can be none. Nothing is captured or served here."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.typing import EventDict

from listener import sources
from listener.accepting import AcceptSource
from listener.capture import source
from listener.capture.filter import Instruction
from listener.capture.source import CaptureSource
from listener.sources import open_source
from tapfan.endpoints import Endpoint
from tapfan.interfaces import choose
from tapfan.logs import Logger
from tapfan.program import CannotRunError
from tapfan.sections import ListenerSettings


@dataclass
class _Rings:
    """Stands for the kernel: makes rings that see nothing; `refused`: what making one on an interface raises."""

    refused: dict[str, OSError] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)

    def __call__(
        self,
        interface: str,
        _program: Sequence[Instruction],
        ring_bytes: int,
        retire_ms: int,
        _fanout: int | None,
    ) -> "_Ring":
        assert ring_bytes > 0
        assert retire_ms > 0
        if interface in self.refused:
            raise self.refused[interface]
        self.open.append(interface)
        return _Ring(interface, self, ring_bytes)


@dataclass
class _Ring:
    interface: str
    rings: _Rings
    size: int

    def close(self) -> None:
        self.rings.open.remove(self.interface)


class _Server:
    """Stands for the serving process; `error`: what starting it raises."""

    error: CannotRunError | None = None

    def __init__(self, _settings: ListenerSettings, _log: Logger, records: bool) -> None:
        if self.error:
            raise self.error
        self.pipe = 99 if records else None


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> _Rings:
    """What stands for the kernel, with two interfaces; nothing is served either."""
    made = _Rings()
    monkeypatch.setattr(source, "Ring", made)
    monkeypatch.setattr(source, "choose", lambda _listen, named: list(named) if named else ["eth0", "lo"])
    monkeypatch.setattr(sources, "Server", _Server)
    monkeypatch.setattr(_Server, "error", None)
    return made


def _settings(**values: Any) -> ListenerSettings:
    return ListenerSettings(**values)


def test_with_the_right_to_it_packets_are_captured_and_the_endpoints_served(
    rings: _Rings, log: Logger, events: list[EventDict]
) -> None:
    chosen, served = open_source(_settings(), log)
    assert isinstance(chosen, CaptureSource)
    assert (chosen.kind, chosen.interfaces, rings.open) == ("capture", ["eth0", "lo"], ["eth0", "lo"])
    assert served is not None
    assert events[-1]["event"] == "source_chosen"
    assert events[-1]["ring_bytes"] == 2 * _settings().ring_bytes
    chosen.close()
    assert rings.open == []


def test_without_the_right_to_capture_auto_accepts_instead_and_says_so(
    rings: _Rings, log: Logger, events: list[EventDict]
) -> None:
    rings.refused["lo"] = PermissionError()
    chosen, served = open_source(_settings(source="auto"), log)
    assert isinstance(chosen, AcceptSource)
    assert served is not None
    assert chosen.descriptors() == [99]
    assert rings.open == []
    assert [event["event"] for event in events] == ["capture_not_allowed", "source_chosen"]
    assert "CAP_NET_RAW" in events[0]["problem"]
    assert events[1]["source"] == "accept"


@pytest.mark.parametrize(
    "settings", [{"source": "capture"}, {"serve": "none"}, {"only": "syn"}, {"tunnels": True}, {"fanout": 3}]
)
def test_without_the_right_to_capture_insisting_on_it_is_an_error_that_says_what_to_do(
    rings: _Rings, log: Logger, settings: dict[str, object]
) -> None:
    rings.refused["lo"] = PermissionError()
    with pytest.raises(CannotRunError, match=r"needs CAP_NET_RAW: .* or set source = .accept."):
        open_source(_settings(**settings), log)
    assert rings.open == []


def test_accepting_is_chosen_without_an_attempt_to_capture(rings: _Rings, log: Logger) -> None:
    rings.refused["eth0"] = OSError("not to be tried")
    chosen, _ = open_source(_settings(source="accept"), log)
    assert chosen.kind == "accept"


def test_beside_another_server_nothing_is_served(log: Logger) -> None:
    _, served = open_source(_settings(serve="none"), log)
    assert served is None


def test_where_serving_fails_capturing_is_given_up(rings: _Rings, log: Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Server, "error", CannotRunError("port in use"))
    with pytest.raises(CannotRunError, match="port in use"):
        open_source(_settings(), log)
    assert rings.open == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(12, "Cannot allocate memory"), r"cannot capture on lo: Cannot allocate memory"),
        (OSError("odd"), r"cannot capture on lo: odd"),
    ],
)
def test_an_interface_that_cannot_be_captured_on_is_named_and_the_others_are_given_back(
    rings: _Rings, log: Logger, error: OSError, told: str
) -> None:
    rings.refused["lo"] = error
    with pytest.raises(CannotRunError, match=told):
        open_source(_settings(), log)
    assert rings.open == []


def test_a_missing_interface_is_told_with_those_that_there_are(log: Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "choose", choose)
    with pytest.raises(CannotRunError) as told:
        open_source(_settings(interface="tapfan-none"), log)
    assert str(told.value).startswith("there is no interface 'tapfan-none'; there are: ")
    assert {name for _, name in socket.if_nameindex()} <= set(str(told.value).partition("there are: ")[2].split(", "))


def test_as_many_endpoints_as_there_may_be_are_captured(log: Logger, rings: _Rings) -> None:
    """Where the kernel's filter cannot hold them, what it lets through is looked at again."""
    endpoints = tuple(Endpoint.parse(f"[2001:db8:{i:x}::1]:{1000 + i}") for i in range(1000))
    chosen, _ = open_source(_settings(listen=endpoints), log)
    assert (chosen.kind, rings.open) == ("capture", ["eth0", "lo"])


def test_each_family_has_a_ring_of_its_own_but_not_with_tunnels(log: Logger, rings: _Rings) -> None:
    endpoints = (Endpoint.parse("127.0.0.1:1"), Endpoint.parse("[::1]:1"), Endpoint.parse("127.0.0.1:2"))
    open_source(_settings(listen=endpoints), log)
    assert rings.open == ["eth0", "eth0", "lo", "lo"]
    rings.open.clear()
    open_source(_settings(listen=endpoints, tunnels=True), log)
    assert rings.open == ["eth0", "lo"]
