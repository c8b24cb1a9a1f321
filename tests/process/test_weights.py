"""Weights that change while it runs."""

import threading
from collections import Counter
from itertools import pairwise

from tests.process.asking import asking
from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder, records
from tests.process.running import Programs, wait_for
from tests.process.stored import sequences
from tests.process.traffic import connections

_BATCH = 1000
_OUTSTANDING = 15  # changes that are asked for at once
_SIZES = (1, 999, 3, 2000, 17, 1, 1, 500)


def test_a_change_is_exact_on_both_sides(start: StartPrograms) -> None:
    programs = start()
    with feeder(programs) as feeding, programs.control() as control:
        for size in _SIZES:
            feeding.send(records(size))
        changed_at = sum(_SIZES)
        wait_for(lambda: _received(programs) == changed_at, "the router has the records before the change")
        reply = control.weights({"a": 80, "b": 20})
        assert reply["weights"] == {"a": 80, "b": 20}
        for size in _SIZES:
            feeding.send(records(size))
        feeding.wait_acknowledged()
    stored = {name: sequences(programs, name) for name in ("a", "b")}
    assert sorted(stored["a"] + stored["b"]) == list(range(2 * changed_at))
    before = sum(sequence < changed_at for sequence in stored["a"])
    assert abs(before - 0.3 * changed_at) < 1
    assert abs(len(stored["a"]) - before - 0.8 * changed_at) < 1


def test_each_of_many_changes_a_second_is_exact_and_nothing_is_lost(start: StartPrograms) -> None:
    """Each change gives a one record of a batch more: so what it has of a batch tells by which one that was split."""
    programs = start(weights={"a": 1, "b": _BATCH - 1})
    batches = 0
    with feeder(programs) as feeding, asking(programs) as many:
        for weight in range(2, _BATCH):
            many.ask(command="weights", weights={"a": weight, "b": _BATCH - weight})
            if weight % 25 == 0:
                feeding.send(records(_BATCH))
                batches += 1
            many.wait(_OUTSTANDING)
        many.wait()
        feeding.wait_acknowledged()
        feeding.send(records(_BATCH))
        feeding.wait_acknowledged()
    assert many.versions == list(range(2, _BATCH))
    stored = {name: sequences(programs, name) for name in ("a", "b")}
    assert sorted(stored["a"] + stored["b"]) == list(range((batches + 1) * _BATCH))
    counts = Counter(sequence // _BATCH for sequence in stored["a"])
    parts = [counts[batch] for batch in range(batches + 1)]
    assert parts[-1] == _BATCH - 1
    assert all(after >= before - 1 for before, after in pairwise(parts)), parts  # within one record of its share
    assert len(set(parts)) > 15, "they went on while records came"
    ledger = programs.status()["ledger"]
    assert (ledger["balanced"], ledger["stored"], ledger["lost"]) == (True, (batches + 1) * _BATCH, {})


def test_a_writer_of_weight_zero_gets_nothing(start: StartPrograms) -> None:
    programs = start(weights={"a": 1, "b": 0})
    with feeder(programs) as feeding:
        feeding.send(records(100))
        feeding.wait_acknowledged()
        with programs.control() as control:
            control.weights({"a": 0, "b": 1})
        feeding.send(records(100))
        feeding.wait_acknowledged()
    assert sequences(programs, "a") == list(range(100))
    assert sequences(programs, "b") == list(range(100, 200))


def test_many_changes_under_load_lose_nothing(start: StartPrograms) -> None:
    programs = start()
    load = threading.Thread(target=connections, args=(1000, programs.port))
    load.start()
    changes = 0
    with programs.control() as control:
        while load.is_alive():
            changes += 1
            control.weights({"a": changes % 100, "b": 100 - changes % 100})
    load.join()
    status = programs.wait_settled(2000)
    assert changes > 10
    assert status["version"] > 10
    assert sorted(sequences(programs, "a") + sequences(programs, "b")) == list(range(status["ledger"]["captured"]))


def _received(programs: Programs) -> int:
    """How many of the feeder's records the router has."""
    received: int = sum(writer["stored"] + writer["in_flight"] for writer in programs.status()["writers"].values())
    return received
