"""What the tests of the control channel configure, and what they are refused."""

from typing import Any

import pytest

from tests.process.control.plain_client import Control, RefusedError

CONFIGURED = {"a": 30, "b": 70}
READY = {"a": "ready", "b": "ready"}


def refusal(control: Control, command: Any, **arguments: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        control.do(command, **arguments)
    assert caught.value.message
    return caught.value.code
