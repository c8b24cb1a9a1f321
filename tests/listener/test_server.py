"""Binding the endpoints: what is told when that cannot be. No serving process is started here."""

import errno
import socket
import time
from collections.abc import Iterator

import pytest
from structlog.typing import EventDict

from listener import server
from listener.server import Server
from tapfan.endpoints import Endpoint
from tapfan.logs import Logger
from tapfan.program import CannotRunError
from tapfan.sections import ListenerSettings


@pytest.fixture
def occupied() -> Iterator[socket.socket]:
    """A socket that listens on a port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_BIND_TIMEOUT_S", 0.0)


def _settings(*endpoints: str) -> ListenerSettings:
    return ListenerSettings(listen=tuple(map(Endpoint.parse, endpoints)))


def _of(listening: socket.socket) -> str:
    return "{}:{}".format(*listening.getsockname())


@pytest.mark.usefixtures("_impatient")
def test_a_port_in_use_is_told_with_how_to_see_who_has_it(occupied: socket.socket, log: Logger) -> None:
    with pytest.raises(CannotRunError) as told:
        Server(_settings(_of(occupied)), log, records=False)
    assert str(told.value).startswith(f"cannot serve {_of(occupied)}: Address already in use; ")
    assert "`ss -ltnp`" in str(told.value)
    assert 'serve = "none"' in str(told.value)


@pytest.mark.parametrize("foreign", ["192.0.2.1:9000", "[2001:db8::1]:9000"])
def test_an_address_of_another_host_is_told_at_once(foreign: str, log: Logger) -> None:
    begun_s = time.monotonic()
    with pytest.raises(CannotRunError) as told:
        Server(_settings(foreign), log, records=False)
    assert str(told.value).startswith(f"cannot serve {foreign}: Cannot assign requested address; ")
    assert str(told.value).endswith("listen under [listener] must name addresses of this host")
    assert time.monotonic() - begun_s < 1


def test_a_port_without_the_right_to_it_is_told_with_what_it_needs(
    occupied: socket.socket, log: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: socket.socket, _address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(CannotRunError, match="ports below 1024 need root or CAP_NET_BIND_SERVICE"):
        Server(_settings(_of(occupied)), log, records=False)


@pytest.mark.usefixtures("_impatient")
def test_where_one_endpoint_fails_the_others_are_given_back(occupied: socket.socket, log: Logger) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trial:
        free = _of(trial)
    with pytest.raises(CannotRunError):
        Server(_settings(free, _of(occupied)), log, records=False)
    server._listening(Endpoint.parse(free)).close()


def test_a_port_that_is_given_back_a_moment_later_is_waited_for(
    occupied: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint.parse(_of(occupied))
    monkeypatch.setattr(time, "sleep", lambda _: occupied.close())
    with server._listening(endpoint) as listening:
        assert listening.getsockname() == (str(endpoint.address), endpoint.port)


def test_an_ipv6_wildcard_leaves_the_port_of_ipv4_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with server._listening(Endpoint.parse(f"[::]:{port}")) as listening:
            assert listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_what_was_not_started_holds_nobody_up(occupied: socket.socket, log: Logger, events: list[EventDict]) -> None:
    endpoint = _of(occupied)
    occupied.close()
    made = Server(_settings(endpoint), log, records=False)
    with socket.create_connection(("127.0.0.1", int(endpoint.partition(":")[2]))):
        made.look_after()
        made.stop()
    assert made.has_stopped()
    assert events == []
