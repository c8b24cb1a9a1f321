"""Programs that store what is read."""

import pytest

from tests.process.conftest import MakePrograms
from tests.process.running import Programs


@pytest.fixture
def storing(programs: MakePrograms) -> MakePrograms:
    """Starts everything but the listener, with the given options (of `Programs`)."""

    def start(**options: object) -> Programs:
        made = programs(**options)
        made.start(*(name for name in made.names if name != "listener"))
        made.wait_ready()
        return made

    return start
