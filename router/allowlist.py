"""The allowlist of the router's key as it is now: read again when its file changed."""

from collections.abc import Iterable, Mapping

from tapfan import allowlist, keys
from tapfan.allowlist import Allowed, AllowlistError
from tapfan.logs import Logger, Repeated


class Allowlist:
    """While the file cannot be read, what was read last holds; at first, nobody is allowed."""

    def __init__(self, key: keys.Key, log: Logger, repeated: Repeated) -> None:
        self._file = allowlist.beside(key.file)
        self._log = log
        self._repeated = repeated
        self._state = self._seen = self._look()
        self._allowed: dict[str, Allowed] = {}
        try:
            self._allowed = allowlist.read(self._file)
        except AllowlistError as error:
            self._tell_not_read(error, "nobody on other hosts is let in")
            return
        if not self._allowed:
            log.warning("nobody_is_allowed", file=str(self._file), hint="`tapfan keys make` makes a key and allows it")

    def get(self, public: str) -> Allowed | None:
        """The client with that public key, if it is allowed now."""
        return self._allowed.get(public)

    def refresh(self) -> list[Allowed]:
        """Read the file if it changed; gives those that are not allowed any more as they were.

        It is read once it was the same twice: an editor may have emptied it, or removed it, a moment ago.
        """
        seen, state = self._seen, self._look()
        self._seen = state
        if state == self._state or state != seen:
            return []
        self._state = state
        try:
            allowed = allowlist.read(self._file)
        except AllowlistError as error:
            self._tell_not_read(error, "that from before stays in force")
            return []
        before, self._allowed = self._allowed, allowed
        lost = _difference(before, allowed)
        new = _difference(allowed, before)
        self._log.info("allowlist_read", allowed=len(allowed), new=_names(new), no_more=_names(lost))
        return lost

    def _tell_not_read(self, error: AllowlistError, then: str) -> None:
        """Log it, once for each change of the file, and count it as a warning."""
        self._log.error("allowlist_not_read", problem=str(error), then=then)
        self._repeated.count("allowlist_not_read")

    def _look(self) -> tuple[int, ...] | None:
        """What changes with the file."""
        try:
            state = self._file.stat()
        except OSError:
            return None
        return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _difference(some: Mapping[str, Allowed], others: Mapping[str, Allowed]) -> list[Allowed]:
    return [entry for public, entry in some.items() if others.get(public) != entry]


def _names(clients: Iterable[Allowed]) -> str:
    return ",".join(f"{client.name}:{client.role}" for client in clients)
