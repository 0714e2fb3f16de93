"""Names the process that holds a lease, so that its neighbours can tell for certain when it has died.

A kill -9 gives nothing back. Whoever lives in the same process table need not wait for the lease to expire; from any
other machine or container a dead process looks like a slow one, and waiting is the only safe answer.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

_BOOT, _TABLE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def this_process() -> str:
    """`host:process table:process id:nonce`. The process table is empty where the system does not tell which it is."""
    return f"{socket.gethostname()}:{_pid_space()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def certainly_dead(owner: str) -> bool:
    """Whether the owner lived in our process table and is no longer there. In every doubt, no: one that was stopped
    lives, and so does a stranger who got its number."""
    place, _, process = owner.rpartition(":")[0].rpartition(":")
    if not _pid_space() or place != f"{socket.gethostname()}:{_pid_space()}":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's, and alive
        return False
    return _has_ended(process)


def _has_ended(process: str) -> bool:
    """A process that was killed keeps its number until whoever started it asks how it ended, which may be never."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state in ("Z", "X")


def _pid_space() -> str:
    """This boot of this machine, and the table of process ids that we see in it: containers have one each."""
    try:
        return f"{_BOOT.read_text().strip()[:8]}/{os.stat(_TABLE).st_ino}"
    except OSError:
        return ""
