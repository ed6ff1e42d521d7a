"""Who this process is, so that another one can tell whether it still lives."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = 0


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one host. The start tells it from a later process that got the same pid."""

    host: str
    pid: int
    start: int  # clock ticks since boot; UNKNOWN where there is no /proc


def this_process() -> ProcessIdentity:
    """Identify the calling process."""
    return ProcessIdentity(_host(), os.getpid(), _start(os.getpid()) or UNKNOWN)


def is_dead(process: ProcessIdentity) -> bool:
    """Whether that process is known to have ended: never said of other hosts, or where there is no /proc."""
    if process.host != _host() or process.start == UNKNOWN:
        return False
    return _start(process.pid) != process.start


def _host() -> str:
    # Containers may share a host name, but not a pid namespace.
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _start(pid: int) -> int | None:
    """Start time of a process; None when it ended (also when nobody has collected its exit status yet)."""
    try:
        # The command's name stands in brackets and may contain anything, brackets included.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
