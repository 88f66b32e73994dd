"""Background processes that outlive the command that starts them, and are found again by it.

Each is the leader of its own process group. Its record names its id and the moment it started, so
that another process that got the same id later, after a crash or a reboot, is never taken for it.
"""

import contextlib
import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_MARK = "SYNTHSET_STACK"
_PAUSE_S = 0.1


class Background:
    """The process called ``name`` of the stack in ``folder``: its record and its log lie there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._record = folder / f"{name}.pid"
        self._mark = f"{folder.resolve()}/{name}"

    def running(self) -> bool:
        """Whether the process that was started is alive."""
        return self._leader() is not None

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], user: str | None = None
    ) -> None:
        """Start it in a session of its own, its output appended to the log.

        ``user`` is who runs it where root asks; it can't count on root's folder to be open to it.
        """
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment, _MARK: self._mark},
                start_new_session=True,
                cwd=None if user is None else "/",
                user=user,
                group=None if user is None else pwd.getpwnam(user).pw_gid,
                extra_groups=None if user is None else [],
            )
        written = self._record.with_suffix(".new")
        written.write_text(json.dumps({"pid": process.pid, "started": _started(process.pid)}))
        written.rename(self._record)
        process.returncode = 0  # the stack's life is not this object's: no warning when it goes

    def stop(self, patience_s: float, asked: signal.Signals = signal.SIGTERM) -> bool:
        """End the process and all that it started: asked first, killed when that takes too long.

        Returns:
            Whether there was anything to end.
        """
        members = self._members()
        for number, wait_s in ((asked, patience_s), (signal.SIGKILL, patience_s)):
            if not self._members():
                break
            for pid in self._members():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + wait_s
            while self._members() and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
        self._record.unlink(missing_ok=True)
        return bool(members)

    def last_words(self) -> str:
        """The end of the log, in one line."""
        with contextlib.suppress(OSError):
            return " ".join(self.log.read_text(errors="replace")[-600:].split())
        return ""

    def _leader(self) -> int | None:
        try:
            record = json.loads(self._record.read_text())
            pid, started = int(record["pid"]), record["started"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return pid if started is not None and _started(pid) == started else None

    def _members(self) -> list[int]:
        """The leader and whoever carries its mark: workers' flow runs may have their own groups."""
        leader = self._leader()
        marked = {pid for pid in _all_pids() if _carries(pid, self._mark)}
        return sorted(marked | ({leader} if leader is not None else set()))


def _started(pid: int) -> str | None:
    """When a living process started, comparable only to itself; None if it has ended."""
    if os.path.isdir("/proc/self"):
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if after_name[0] in "ZX" else f"{boot} {after_name[19]}"
    asked = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = asked.stdout.strip().partition(" ")
    return started.strip() if state and not state.startswith("Z") else None


def _all_pids() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return []


def _carries(pid: int, mark: str) -> bool:
    with contextlib.suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return f"{_MARK}={mark}".encode() in environment
    return False
