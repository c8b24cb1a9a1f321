"""The check of a Redis: whether it would take records, on a real one where that can be brought about."""

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import hiredis
import pytest
import redis
from pydantic import SecretStr

from tapfan import redis_connection
from tapfan.reader import exchange
from tapfan.sections import Layout, WriterSettings
from tests.process.redis_servers import RedisServer
from tests.process.running import wait_for
from tests.writers import resp
from tests.writers.servers import Server
from writers import store
from writers.commands import Commands
from writers.store import Store, StoreError
from writers.vitals import UnfitError, Vitals, read_vitals

SECRET = "hunter2"
_SET = b"*3\r\n$3\r\nSET\r\n$5\r\ntcp:1\r\n$1\r\nv\r\n"


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "TIMEOUT_S", 0.5)


def _problem(settings: WriterSettings, trial: bool = False) -> str:
    """What is wrong by a check; afterwards the connection is closed."""
    connection = Store(settings)
    with pytest.raises(StoreError) as failure:
        connection.check(trial)
    left_open = connection._connection is not None
    connection.close()
    assert not left_open
    assert SECRET not in str(failure.value)
    return str(failure.value)


def _checked(settings: WriterSettings, trial: bool = False, layout: Layout = "record") -> Vitals:
    connection = Store(settings, layout)
    vitals = connection.check(trial)
    connection.close()
    return vitals


@pytest.mark.parametrize("trial", [False, True])
def test_a_master_with_memory_left_is_healthy_and_tells_how_much(server: Server, trial: bool) -> None:
    server.configure(maxmemory=10**9)
    vitals = _checked(server.settings(), trial)
    assert 0 < vitals.round_trip_us < 20 * 10**6
    assert vitals.used_memory is not None
    assert 10**5 < vitals.used_memory < 10**9
    assert vitals.max_memory == 10**9


def test_it_tells_what_it_evicts_and_how_many_keys_expire(server: Server) -> None:
    server.configure(maxmemory_policy="volatile-lfu")
    assert (_checked(server.settings()).policy, _checked(server.settings()).expiring) == ("volatile-lfu", 0)
    for database in (0, 3):
        server.run("SELECT", str(database))
        server.client.set("stays", 1)
        server.client.set("goes", 1, ex=1000)
    assert _checked(server.settings()).expiring == 2


@pytest.mark.parametrize("ahead_s", [-90.0, -1.5, 0.0, 1.5])
def test_it_tells_how_far_its_clock_is_ahead_of_ours(
    server: Server, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """Ours is the one that is off here."""
    usual = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: usual() - round(ahead_s * 1e9))
    vitals = _checked(server.settings())
    assert vitals.ahead_us is not None
    assert abs(vitals.ahead_us - ahead_s * 1e6) <= vitals.round_trip_us


def test_without_a_bound_its_memory_is_unlimited(server: Server) -> None:
    assert _checked(server.settings()).max_memory == 0


def test_commands_and_checks_take_turns_on_one_connection(server: Server) -> None:
    connection = Store(server.settings())
    for count in (1, 300):
        connection.set_all(Commands(memoryview(_SET * count), count, 0))
        for trial in (False, True):
            assert connection.check(trial).used_memory
    connection.close()
    assert server.client.info("stats")["total_connections_received"] == 2, "the test's own and the writer's"


@pytest.mark.parametrize("read_only", ["yes", "no"])
def test_a_replica_takes_no_records(server: Server, read_only: str) -> None:
    """Nor does one that takes writes: its master would undo them."""
    server.configure(replica_read_only=read_only)
    server.run("REPLICAOF", "127.0.0.1", "1")
    assert _problem(server.settings()) == "a replica (slave), which takes no records"
    server.run("REPLICAOF", "NO", "ONE")
    assert _checked(server.settings()).used_memory


def test_a_replica_is_left_for_what_stands_at_its_address_next(servers: Callable[[], Server], tmp_path: Path) -> None:
    """A failover behind one name: the demoted master stays connected, and would be asked for ever."""
    old, new, path = servers(), servers(), tmp_path / "redis.sock"
    path.symlink_to(old.path)
    connection = Store(old.settings(path))
    assert connection.check()
    old.run("REPLICAOF", "127.0.0.1", "1")
    path.unlink()
    path.symlink_to(new.path)
    with pytest.raises(StoreError, match="replica"):
        connection.check()
    assert connection.check()
    connection.close()


def test_a_redis_whose_memory_is_used_up_takes_no_records(server: Server) -> None:
    server.configure(maxmemory=1)
    assert _problem(server.settings()).startswith("out of memory: its maxmemory is used up")


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_where_redis_evicts_used_up_memory_is_no_problem(server: Server, policy: str) -> None:
    server.configure(maxmemory=1, maxmemory_policy=policy)
    vitals = _checked(server.settings())
    assert vitals.used_memory is not None
    assert vitals.used_memory > 1 == vitals.max_memory


def test_of_a_user_that_may_not_ask_it_is_known_only_that_it_reaches_redis(server: Server) -> None:
    server.run("ACL", "SETUSER", "tap", "on", f">{SECRET}", "~tcp:*", "+set", "+client")
    settings = WriterSettings(name="a", redis=f"unix://tap:{SECRET}@{server.path}", weight=1)
    for trial in (False, True):
        vitals = _checked(settings, trial)
        assert vitals == Vitals(vitals.round_trip_us)
        assert vitals.round_trip_us > 0


def test_of_a_user_that_may_ask_only_for_some_that_is_known(server: Server) -> None:
    server.run("ACL", "SETUSER", "tap", "on", f">{SECRET}", "~tcp:*", "+set", "+client", "+info")
    vitals = _checked(WriterSettings(name="a", redis=f"unix://tap:{SECRET}@{server.path}", weight=1))
    assert vitals.used_memory
    assert (vitals.policy, vitals.expiring, vitals.ahead_us) == ("noeviction", 0, None)


@pytest.mark.parametrize("layout", ["record", "block"])
def test_a_trial_leaves_no_key_that_anybody_sees(server: Server, layout: Layout) -> None:
    for _ in range(3):
        _checked(server.settings(), trial=True, layout=layout)
    assert server.client.info("commandstats")["cmdstat_set"]["calls"] == 3
    assert server.client.keys() == []
    assert list(server.client.scan_iter()) == []
    for key in ("tcp:check", "tcpb:check"):
        assert (server.client.exists(key), server.client.get(key)) == (0, None)
    wait_for(lambda: server.client.dbsize() == 0, "Redis has forgotten it, too")


def _make_replica(server: Server) -> None:
    server.run("REPLICAOF", "127.0.0.1", "1")


def _use_up_memory(server: Server) -> None:
    server.configure(maxmemory=1)


def _forbid_set(server: Server) -> None:
    server.run("ACL", "SETUSER", "default", "-set")


def _forbid_keys(server: Server) -> None:
    server.run("ACL", "SETUSER", "default", "resetkeys", "~other:*")


def _demand_replicas(server: Server) -> None:
    server.configure(min_replicas_to_write=1)


@pytest.mark.parametrize(
    ("bring_about", "problem"),
    [
        (_make_replica, "a replica (slave)"),
        (_use_up_memory, "out of memory: "),
        (_forbid_set, "refused: NOPERM "),
        (_forbid_keys, "refused: NOPERM "),
        (_demand_replicas, "refused: NOREPLICAS "),
    ],
)
def test_a_trial_finds_what_refuses_a_record(
    server: Server, bring_about: Callable[[Server], None], problem: str
) -> None:
    """Where a check alone may pass."""
    bring_about(server)
    assert _problem(server.settings(), trial=True).startswith(problem)


@pytest.mark.parametrize("bring_about", [_forbid_set, _forbid_keys, _demand_replicas])
def test_a_check_alone_writes_nothing(server: Server, bring_about: Callable[[Server], None]) -> None:
    bring_about(server)
    assert _checked(server.settings()).used_memory


@pytest.mark.parametrize(("layout", "keys"), [("record", "~tcp:*"), ("block", "~tcpb:*")])
def test_a_trial_keeps_to_the_keys_that_its_layout_has(server: Server, layout: Layout, keys: str) -> None:
    server.run("ACL", "SETUSER", "default", "resetkeys", keys)
    assert _checked(server.settings(), trial=True, layout=layout).used_memory


@pytest.mark.parametrize("bring_about", [_make_replica, _use_up_memory, _forbid_set, _forbid_keys, _demand_replicas])
def test_what_was_measured_is_told_with_what_is_wrong(server: Server, bring_about: Callable[[Server], None]) -> None:
    bring_about(server)
    connection = Store(server.settings())
    with pytest.raises(StoreError) as failure:
        connection.check(trial=True)
    assert failure.value.vitals is not None
    assert failure.value.vitals.used_memory
    connection.close()


@pytest.mark.parametrize("url", ["redis://:{secret}@{address}", "redis://tap:{secret}@{address}", "redis://{address}"])
def test_a_redis_without_auth_repeats_a_password_that_is_told_nobody(tmp_path: Path, url: str) -> None:
    with closing(RedisServer(tmp_path / "redis", {"rename-command": 'AUTH ""'})) as server:
        server.wait_up()
        settings = WriterSettings(name="a", redis=url.format(secret=SECRET, address=server.address), weight=1)
        if SECRET not in settings.redis:
            settings = settings.model_copy(update={"password": SecretStr(SECRET)})
        with pytest.raises(redis.ResponseError, match=SECRET) as failure:
            redis.Redis(port=server.port, password=SECRET, protocol=2).ping()
        assert _problem(settings).lower().startswith("unknown command")
        told = exchange.reason(failure.value, 1.0), redis_connection.reason(failure.value)
        assert [text.rstrip("'`").endswith("AUTH") for text in told] == [True, True]


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        (None, "Authentication required"),
        (f"not {SECRET}", "invalid username-password pair or user is disabled"),
    ],
)
def test_a_password_that_is_missing_or_wrong_is_told_clearly_and_no_secret(
    server: Server, password: str | None, problem: str
) -> None:
    server.configure(requirepass=SECRET)
    assert problem in _problem(server.settings(password=password))
    assert _checked(server.settings(password=SECRET)).used_memory


def test_a_redis_that_answers_nothing_is_told_so_and_healthy_when_it_does_again(server: Server) -> None:
    connection = Store(server.settings())
    assert connection.check()
    server.hold_up()
    with pytest.raises(StoreError, match=r"^no answer within 0\.5 s$"):
        connection.check()
    server.let_go_on()
    assert connection.check()
    connection.close()


def test_a_redis_that_ends_is_told_so(server: Server) -> None:
    connection = Store(server.settings())
    assert connection.check()
    server.close()
    for _ in range(2):
        with pytest.raises(StoreError):
            connection.check()
    assert connection._connection is None


def _answering(**info: str) -> resp.Answer:
    text = "".join(f"{key}:{value}\r\n" for key, value in info.items()).encode()
    return lambda _: [b"$%d\r\n%s\r\n" % (len(text), text)]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (_answering(role="master", loading="1"), "loading its data from disk"),
        (lambda _: [b"-LOADING Redis is loading the dataset in memory\r\n"], "refused: LOADING Redis is loading the"),
        (lambda _: [b"-NOAUTH Authentication required.\r\n"], "refused: NOAUTH Authentication required."),
        (lambda _: [b"-ERR unknown command `INFO`\r\n"], "refused: ERR unknown command `INFO`"),
    ],
)
def test_what_a_real_redis_is_not_easily_brought_to_say(answer: resp.Answer, problem: str) -> None:
    with resp.serving(answer) as port:
        assert _problem(WriterSettings(name="a", redis=f"redis://127.0.0.1:{port}", weight=1)).startswith(problem)


@pytest.mark.parametrize(
    ("answer", "used_memory"),
    [
        (_answering(), None),
        (_answering(used_memory="1234", maxmemory="many"), 1234),
        (_answering(used_memory="-1"), None),
        (_answering(used_memory=str(2**63), maxmemory="9" * 5000), None),
        (_answering(used_memory="²"), None),
        (_answering(maxmemory_policy="x" * 5000), None),
        (lambda _: [b"$4\r\n\xff\xfe\xfd:\r\n"], None),
        (lambda _: [b"$-1\r\n"], None),
        (lambda _: [b"*0\r\n"], None),
    ],
)
def test_what_redis_does_not_tell_is_none(answer: resp.Answer, used_memory: int | None) -> None:
    with resp.serving(answer) as port:
        vitals = _checked(WriterSettings(name="a", redis=f"redis://127.0.0.1:{port}", weight=1))
    assert vitals == Vitals(vitals.round_trip_us, used_memory)


@pytest.mark.parametrize(("buffers", "fits"), [(0, False), (99, False), (101, True)])
def test_what_redis_does_not_count_as_used_leaves_room(buffers: int, fits: bool) -> None:
    """Its buffers to replicas, which no real one fills at a test's wish."""
    info = {"used_memory": 1100, "maxmemory": 1000, "mem_not_counted_for_evict": buffers}
    text = "maxmemory_policy:noeviction\r\n" + "".join(f"{key}:{value}\r\n" for key, value in info.items())
    with nullcontext() if fits else pytest.raises(UnfitError, match="out of memory"):
        assert read_vitals([text.encode(), None], 1, 0).used_memory == 1100


@pytest.mark.parametrize(
    ("keyspace", "expiring"),
    [
        ("# Keyspace\r\n", 0),
        ("# Keyspace\r\ndb0:keys=5,expires=3,avg_ttl=10\r\ndb12:keys=1,expires=1,avg_ttl=0,subexpiry=0\r\n", 4),
        ("# Keyspace\r\ndb0:expires=many\r\ndb1:,=\r\ndbx:expires=9\r\n", 0),
        ("db0:keys=5,expires=3\r\n", None),
    ],
)
def test_keys_that_expire_are_those_of_all_databases(keyspace: str, expiring: int | None) -> None:
    assert read_vitals([keyspace.encode(), None], 1, 0).expiring == expiring


@pytest.mark.parametrize(
    ("clock", "ahead_us"),
    [
        ([b"1700000000", b"250000"], 250_000),
        ([b"1699999999", b"0"], -1_000_000),
        ([b"1700000000"], None),
        ([b"-1", b"0"], None),
        ([1700000000, 0], None),
        ([b"9" * 400, b"0"], None),
        (b"1700000000", None),
        (hiredis.ReplyError("ERR unknown command 'TIME'"), None),
    ],
)
def test_a_clock_is_read_against_the_middle_of_the_round_trip(clock: object, ahead_us: int | None) -> None:
    assert read_vitals([None, clock], 1, 1_700_000_000 * 10**9).ahead_us == ahead_us
