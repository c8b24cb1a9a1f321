"""supervisord over its XML-RPC, reached as supervisorctl reaches it: one program more or less, the others go on."""

import io
import os
import socket
import time
import xmlrpc.client
from collections.abc import Collection
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

from supervisor.options import ClientOptions
from supervisor.xmlrpc import Faults

from tapfan.rundir import user_name

_TIMEOUT_S = 5.0  # for one answer
_STOP_MARGIN_S = 5.0  # beyond stopwaitsecs, after which supervisord kills
_PAUSE_S = 0.05


class SupervisionError(Exception):
    """Raised when supervisord cannot be asked, or cannot do it; its text says what to do."""


@dataclass(frozen=True)
class Process:
    """A program's process, as supervisord knows it."""

    state: str  # STARTING, RUNNING, BACKOFF, STOPPING, STOPPED, EXITED, FATAL, UNKNOWN
    pid: int
    log: Path | None
    trouble: str  # why it does not run, as far as supervisord knows

    @property
    def ended(self) -> bool:
        """Whether it does not run, and will not be started again by itself."""
        return self.state in ("STOPPED", "EXITED", "FATAL", "UNKNOWN")


class Supervisor:
    """The supervisord whose file that is; every method raises SupervisionError."""

    def __init__(self, file: Path) -> None:
        self._file = file
        options = ClientOptions()
        options.stderr = told = io.StringIO()
        try:
            options.realize(["-c", str(file)], doc="", progname="tapfan")
        except (SystemExit, ValueError) as error:
            reason = told.getvalue().strip().partition("\n")[0] or str(error)
            raise SupervisionError(f"{file} does not say how to reach supervisord: {reason}") from error
        self._url = options.serverurl
        self._proxy = options.getServerProxy()
        self.pid = int(self._call("getPID"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy("close")()

    def process(self, program: str) -> Process | None:
        """That program's process; None where supervisord has no such program now."""
        info = self._call("getProcessInfo", program, accepted=(Faults.BAD_NAME,))
        if info is None:
            return None
        log = Path(info["stdout_logfile"]) if info["stdout_logfile"] else None
        trouble = info["spawnerr"] or (f"exit code {info['exitstatus']}" if info["statename"] == "EXITED" else "")
        return Process(info["statename"], info["pid"], log, trouble)

    def start(self, program: str) -> None:
        """Have the program of that section, which is in the file by now, run; no other one is touched."""
        self.reread()
        if self._configuration(program) is None:
            raise SupervisionError(
                f"the supervisord at {self._url} does not read {self._file}; name its file with --supervisor"
            )
        self._call("addProcessGroup", program, accepted=(Faults.ALREADY_ADDED,))
        process = self.process(program)
        if process is not None and process.ended:
            self._call("startProcess", program, False, accepted=(Faults.ALREADY_STARTED,))

    def stop(self, program: str) -> None:
        """Have the program end, and forget it; nothing to do where it is not known."""
        configuration = self._configuration(program)
        patience_s = (configuration["stopwaitsecs"] if configuration else 10) + _STOP_MARGIN_S
        deadline = time.monotonic() + patience_s
        self._call("stopProcess", program, False, accepted=(Faults.BAD_NAME, Faults.NOT_RUNNING))
        while (process := self.process(program)) is not None and not process.ended:
            if time.monotonic() > deadline:
                raise SupervisionError(f"{program} (process {process.pid}) did not end within {patience_s:g} s")
            time.sleep(_PAUSE_S)
        self._call("removeProcessGroup", program, accepted=(Faults.BAD_NAME,))

    def reread(self) -> None:
        """Have it read its file again, which changes nothing that runs."""
        self._call("reloadConfig")

    def check_own_group(self, program: str) -> None:
        """See that the program is no part of a group, which could be removed only as a whole."""
        configuration = self._configuration(program)
        if configuration is not None and configuration["group"] != program:
            raise SupervisionError(
                f"{program} is a part of the group {configuration['group']} in {self._file}, which cannot be changed "
                "while it runs; take it out of the group first"
            )

    def _configuration(self, program: str) -> dict[str, Any] | None:
        found = self._call("getAllConfigInfo")
        return next((configuration for configuration in found if configuration["name"] == program), None)

    def _call(self, method: str, *arguments: Any, accepted: Collection[int] = ()) -> Any:
        """The result; None where it refuses for a reason that is accepted."""
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT_S)  # the transport has none of its own
        try:
            return getattr(self._proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in accepted:
                return None
            raise SupervisionError(f"supervisord refuses {method}: {fault.faultString}") from fault
        except xmlrpc.client.ProtocolError as error:
            raise SupervisionError(f"supervisord at {self._url} refuses it: {error.errmsg}") from error
        except PermissionError as error:
            raise SupervisionError(
                f"user {user_name(os.geteuid())} may not use {self._url}: run this as the user that started supervisord"
            ) from error
        except (OSError, HTTPException) as error:
            self._proxy("close")()  # the answer might come yet, and be taken for that to another question
            raise SupervisionError(f"supervisord does not answer at {self._url}: {error}") from error
        finally:
            socket.setdefaulttimeout(before)
