"""All steps are taken, or those that were begun are taken back."""

from collections.abc import Callable

import pytest

from tapfan.membership.steps import Step, run


class _Steps:
    """Notes what is done and taken back; `fails`: the steps that fail, `sticks`: those that cannot be taken back."""

    def __init__(self, fails: str = "", sticks: str = "", error: type[BaseException] = ValueError) -> None:
        self.noted: list[str] = []
        self.steps = [
            Step(self._noting(f"+{name}", name in fails, error), self._noting(f"-{name}", name in sticks))
            for name in "abc"
        ]

    def _noting(self, what: str, fails: bool, error: type[BaseException] = OSError) -> Callable[[], None]:
        def do() -> None:
            self.noted.append(what)
            if fails:
                raise error(what)

        return do


def test_all_are_taken_in_order() -> None:
    steps = _Steps()
    run(steps.steps)
    assert steps.noted == ["+a", "+b", "+c"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_begun_is_taken_back_last_one_first(error: type[BaseException]) -> None:
    steps = _Steps(fails="b", error=error)
    with pytest.raises(error, match=r"\+b"):
        run(steps.steps)
    assert steps.noted == ["+a", "+b", "-b", "-a"]


def test_what_cannot_be_taken_back_is_told_and_keeps_nothing_else_from_it() -> None:
    steps = _Steps(fails="c", sticks="bc")
    with pytest.raises(ValueError, match=r"\+c") as raised:
        run(steps.steps)
    assert steps.noted == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert raised.value.__notes__ == ["-c", "-b"]
