"""docs/control.md and the code say the same, and its examples are true."""

import ast
from pathlib import Path
from typing import Any, get_args

import msgpack

from router.history import Kind
from tapfan.control import CODES, COMMANDS, TOPICS
from tests.process.conftest import StartPrograms
from tests.process.control import document, plain_client
from tests.process.control.asked import CONFIGURED
from tests.process.control.plain_client import Control
from tests.process.feeder import feeder, records
from tests.process.running import Programs, wait_for


def test_the_client_has_nothing_of_tapfan() -> None:
    tree = ast.parse(Path(plain_client.__file__).read_text(encoding="utf-8"))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"secrets", "types", "typing", "msgpack", "zmq"}


def test_every_code_and_command_and_topic_is_in_the_document_and_the_other_way_round() -> None:
    assert sorted(document.names("Error codes")) == sorted(CODES)
    commands = document.section("Commands").partition("###")[0]
    assert sorted(name for name in COMMANDS if f"| [`{name}`](#" in commands) == sorted(COMMANDS)
    assert commands.count("| [`") == len(COMMANDS)
    assert sorted(document.names("Events")) == sorted(topic.decode() for topic in TOPICS)


def test_every_kind_of_entry_is_in_the_document() -> None:
    (row,) = (line for line in document.section("history").splitlines() if line.startswith("| `kind` "))
    assert {kind for kind in get_args(Kind) if f"`{kind}`" in row} == set(get_args(Kind))


def test_every_command_has_an_example() -> None:
    assert {example.request["command"] for example in document.examples()} == set(COMMANDS)


def test_the_view_has_the_keys_of_the_document(control: Control) -> None:
    assert sorted(control.do("weights")) == sorted(document.names("The view"))


def test_the_status_has_the_keys_of_the_document(running: Programs, control: Control) -> None:
    with feeder(running) as feeding:
        feeding.send(records(100))
        feeding.wait_acknowledged()
        wait_for(
            lambda: all(writer["projection"] for writer in control.do("status")["writers"].values()),
            "what the records need is known",
        )
        control.do("weights", weights={"a": 40}, over=3600)
        status = control.do("status")
    told = document.names("status")
    assert sorted(told) == sorted(_keys(status))


def _keys(content: dict[str, Any], path: str = "") -> set[str]:
    """The keys with their places, as the document writes them: names of writers and listeners as NAME."""
    by_name = {"writers": "NAME", "listeners": "NAME"}
    free = ("ramp", "changed", "lost", "skipped", "warnings", "observed")  # whose keys are told in words
    found = set()
    for key, value in content.items():
        place = f"{path}{key}"
        if key in by_name:
            for inner in value.values():
                found |= _keys(inner, f"{place}.{by_name[key]}.")
        elif isinstance(value, dict) and key not in free:
            found |= _keys(value, f"{place}.")
        else:
            found.add(place)
    return found


def test_the_examples_of_the_document_are_true(start: StartPrograms) -> None:
    """In the order of the document, on a router that has just begun: each gets a reply of that form."""
    programs = start(weights=CONFIGURED)
    with Control(programs.endpoint("control")) as client:
        for example in document.examples():
            reply = client.send(msgpack.packb(example.request))
            assert reply["ok"], (example.request, reply)
            assert reply["id"] == example.reply["id"] == example.request["id"]
            assert reply["result"].keys() == example.reply["result"].keys()
            if example.request["command"] not in ("status", "history"):
                assert _lasting(reply["result"]) == _lasting(example.reply["result"]), example.request


def _lasting(view: dict[str, Any]) -> dict[str, Any]:
    """What of a view is the same whenever it is asked for."""
    ramp = view["ramp"] and {key: view["ramp"][key] for key in ("from", "to", "over")}
    return {key: value for key, value in view.items() if key != "shares"} | {"ramp": ramp}
