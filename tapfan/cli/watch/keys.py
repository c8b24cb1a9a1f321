"""Key presses out of the bytes that a terminal sends, however these are split over reads."""

import codecs

ESCAPE_DELAY_S = 0.1  # what follows an escape within this time belongs to it; over ssh it may come in another packet

_ESCAPE = 0x1B
_MAX_SEQUENCE = 32  # bytes; longer ones are no key of any terminal
_CONTROLS = {0x08: "backspace", 0x0A: "enter", 0x0C: "ctrl+l", 0x0D: "enter", 0x15: "ctrl+u", 0x7F: "backspace"}
# After ESC [ or ESC O (the latter where cursor keys are in application mode): ECMA-48, and xterm's control sequences.
_SEQUENCES = {b"A": "up", b"B": "down", b"H": "home", b"F": "end", b"M": "enter"}
_SEQUENCES |= {b"1~": "home", b"7~": "home", b"4~": "end", b"8~": "end", b"5~": "page up", b"6~": "page down"}
_PASTE_BEGINS, _PASTE_ENDS = b"200~", b"201~"  # bracketed paste: ESC [ 200 ~ … ESC [ 201 ~


class Keys:
    """Reads what was typed: a character as itself, and "up", "enter", "escape" and so on.

    What was pasted is left out, as each of its characters would do something; so are keys that have no name here.
    """

    def __init__(self) -> None:
        self._sequence = b""  # of an escape sequence that is not complete
        self._text = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._is_pasting = False

    @property
    def is_inside(self) -> bool:
        """Whether it waits for the rest of an escape sequence."""
        return bool(self._sequence)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete with these bytes."""
        keys = []
        for byte in data:
            key = self._next(byte)
            if key and not self._is_pasting:
                keys.append(key)
        return keys

    def pause(self) -> list[str]:
        """To be called when nothing came for ESCAPE_DELAY_S: an escape alone was the key."""
        alone = self._sequence == b"\x1b"
        self._sequence = b""
        return ["escape"] if alone and not self._is_pasting else []

    def _next(self, byte: int) -> str | None:
        if byte == _ESCAPE:
            before, self._sequence = self._sequence, b"\x1b"
            self._text.reset()
            return "escape" if before == b"\x1b" else None
        if self._sequence:
            return self._in_sequence(byte)
        if byte in _CONTROLS:
            return _CONTROLS[byte]
        character = self._text.decode(bytes([byte]))
        return character if character and character.isprintable() else None

    def _in_sequence(self, byte: int) -> str | None:
        self._sequence += bytes([byte])
        kind, rest = self._sequence[1:2], self._sequence[2:]
        if kind not in (b"[", b"O"):
            self._sequence = b""  # a character with Alt
            return None
        if not rest or (kind == b"[" and 0x20 <= byte <= 0x3F and len(rest) < _MAX_SEQUENCE):
            return None
        self._sequence = b""
        if kind == b"[" and rest in (_PASTE_BEGINS, _PASTE_ENDS):
            self._is_pasting = rest == _PASTE_BEGINS
        return _SEQUENCES.get(rest)
