"""What leads to the router is read though the rest of the configuration is not sound."""

from pathlib import Path

import pytest

from tapfan.settings import Settings, SettingsError, load, load_reach
from tests.tapfan.configuring import SECRET, error_of, one_writer
from tests.tapfan.conftest import WRITERS, Configure

_FAR = "tcp://192.0.2.1:7203"
_LAPTOP = f'[control]\nendpoint = "{_FAR}"\ntimeout = "9s"\n'
_HALF = '[[writers]]\nname = "c"\nredis = "redis://h"\n'  # its weight is not typed yet


def test_of_a_sound_configuration_it_is_all(configure: Configure) -> None:
    file = configure(f'run_dir = "r"\n{WRITERS}')
    assert load_reach(file) == (load(file), [])


@pytest.mark.parametrize(
    "bad",
    [
        WRITERS + _HALF,
        WRITERS + WRITERS,
        one_writer(weight="0"),
        'writers = "a"',
        f'ttl = 0\nlayout = "x"\n{WRITERS}',
        f'user = "no such user"\n{WRITERS}',
        f"nonsense = 1\n{WRITERS}",
        f'[listener]\nserve = "forward"\n{WRITERS}',
        f'[listener]\nlisten = ["x"]\nkey = 5\n{WRITERS}',
        f'[listener]\nkey = "e.key"\n{WRITERS}',
        f"[router]\nfall = 0\n{WRITERS}",
        f'[router]\nrecords = "{_FAR}"\n{WRITERS}',
        one_writer(redis=f'"redis://:{SECRET}@127.0.0.1:x/0"'),
    ],
)
def test_what_is_bad_elsewhere_is_told_as_the_whole_check_tells_it_and_is_in_the_way_of_nothing(
    configure: Configure, tmp_path: Path, bad: str
) -> None:
    file = configure(f'run_dir = "elsewhere"\n{bad}\n[control]\nevents = "tcp://127.0.0.1:7204"\ntimeout = "9s"\n')
    reach, problems = load_reach(file)
    assert problems == error_of(file).splitlines()
    assert SECRET not in "".join(problems)
    assert not isinstance(reach, Settings)
    assert reach.endpoint("control") == f"ipc://{tmp_path}/elsewhere/control.ipc"
    assert (reach.endpoint("events"), reach.control.timeout) == ("tcp://127.0.0.1:7204", 9.0)


def test_the_router_s_own_host_reaches_it_without_a_key_whatever_else_is_bad(
    configure: Configure, tmp_path: Path
) -> None:
    config = f'[router]\nkey = "r.key"\nrise = "x"\n[control]\nendpoint = "tcp://*:7203"\n{WRITERS}'
    reach, problems = load_reach(configure(config))
    assert [problem.partition(": ")[2] for problem in problems] == [
        "router.rise = 'x': must be a whole number from 1 to 100"
    ]
    assert reach.endpoint("control") == f"ipc://{tmp_path}/run/control.ipc"


def test_a_client_needs_no_writers_and_its_key_is_relative_to_the_file(configure: Configure, tmp_path: Path) -> None:
    for besides in ("", "[listener]\nkey = 5\n"):
        reach, problems = load_reach(configure(f'{_LAPTOP}key = "k/laptop.key"\n{besides}'))
        assert (reach.endpoint("control"), reach.control.key) == (_FAR, tmp_path / "k/laptop.key")
        assert [problem.partition(": ")[2] for problem in problems] == (
            ["listener.key = 5: must be the path of a key file, as `tapfan keys make` makes them"] if besides else []
        )


def test_a_client_of_this_host_needs_no_writers_either(configure: Configure) -> None:
    file = configure('[control]\nendpoint = "tcp://127.0.0.1:7203"\n')
    reach, problems = load_reach(file)
    assert (reach.endpoint("control"), problems) == ("tcp://127.0.0.1:7203", [])
    assert "writers: missing; there may be none only where listener.key or control.key is for" in error_of(file)


def test_where_the_key_of_a_client_is_missing_it_is_what_is_missed(configure: Configure) -> None:
    file = configure(_LAPTOP)
    with pytest.raises(SettingsError) as caught:
        load_reach(file)
    expected = (
        f"control.endpoint = '{_FAR}': with other hosts there is encryption: set control.key, or where the router"
    )
    for error in (str(caught.value), error_of(file)):
        assert error.startswith(f"{file}: {expected}")
        assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (f'[[router]]\nkey = "r.key"\n{WRITERS}', "router = [{"),
        ("run_dir = 5\n", "run_dir = 5: must be the path of a folder"),
        ('[control]\nendpont = "x"\n', "control.endpont: unknown key"),
        ('[control]\ntimeout = "soon"\n', "control.timeout = 'soon': must be a duration"),
        ("[control]\nkey = 5\n", "control.key = 5: "),
        ("[router]\nkey = 5\n", "router.key = 5: "),
        ("control = 5\n", "control = 5: must be a table"),
        (f'run_dir = "{"x" * 200}"\n', "set a shorter run_dir"),
        ("[control", "not valid TOML"),
    ],
)
def test_what_is_bad_on_the_way_to_the_router_is_an_error_alone(configure: Configure, bad: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_reach(configure(f"{bad}\n{_HALF}"))
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_variables_lead_to_the_router_and_others_are_in_the_way_of_nothing(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAPFAN_CONTROL__TIMEOUT", "7s")
    monkeypatch.setenv("TAPFAN_RUN_DIR", "/else")
    monkeypatch.setenv("TAPFAN_A__B", "x")
    monkeypatch.setenv("TAPFAN_WRITERS__C__PASSWORD", SECRET)
    reach, problems = load_reach(configure(WRITERS))
    assert (reach.endpoint("control"), reach.control.timeout) == ("ipc:///else/control.ipc", 7.0)
    assert problems == ["the environment variable TAPFAN_WRITERS__C__PASSWORD names nothing that can be configured"]
    monkeypatch.setenv("TAPFAN_CONTROL__ENDPOINT", "nowhere")
    monkeypatch.setenv("TAPFAN_ROUTER__KEY", str(tmp_path / "r.key"))
    with pytest.raises(SettingsError, match=r"^TAPFAN_CONTROL__ENDPOINT: control\.endpoint = 'nowhere': must be ipc:"):
        load_reach(configure(WRITERS))
