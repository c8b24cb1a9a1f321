"""The forms of names: of listeners, writers and keys, and of the streams that listeners capture into."""

import re
from typing import Annotated

from pydantic import Field

NAME_FORM = re.compile("[A-Za-z0-9_-]{1,32}")
VALID = "must have 1 to 32 letters, digits, - and _"
Name = Annotated[str, Field(pattern=f"^{NAME_FORM.pattern}$")]

STREAM_FORM = re.compile(rf"{NAME_FORM.pattern}\.[0-9a-f]{{8}}")  # the listener's name, and what tells its starts apart
Stream = Annotated[str, Field(pattern=f"^{STREAM_FORM.pattern}$")]
