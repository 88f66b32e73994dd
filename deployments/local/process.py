"""Background processes that outlive the command that starts them.

The record of a process holds its id and start time. After a crash or a reboot another process may
get the same id; its start time differs, so it is never mistaken for the recorded one.
"""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

# Set in the environment of every process that the service starts, so that `stop` finds them all.
_MARK = "SYNTHSET_STACK"
# The clock may be corrected between two readings of a process's start time.
_SAME_START_S = 2.0
_PAUSE_S = 0.1


class Background:
    """The process called ``name`` of the local stack; its record and its log are in ``folder``."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._record = folder / f"{name}.pid"
        self._mark = f"{folder.resolve()}/{name}"

    def is_running(self) -> bool:
        """Whether the recorded process is alive."""
        return self._leader() is not None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the process in its own session, with its output appended to the log."""
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment, _MARK: self._mark},
                start_new_session=True,
            )
        started = psutil.Process(process.pid).create_time()
        new_record = self._record.with_suffix(".new")
        new_record.write_text(json.dumps({"pid": process.pid, "started": started}))
        new_record.rename(self._record)
        # The process outlives this object: Popen must not warn about it.
        process.returncode = 0

    def stop(self, timeout_s: float) -> bool:
        """End the process and everything it started; kill what ignores SIGTERM.

        Returns:
            Whether there was a process to end.
        """
        found = left = self._members()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            # Not psutil.wait_procs: it waits for zombies, which some containers never reap.
            deadline = time.monotonic() + timeout_s
            while (left := self._left_of(left)) and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
            if not left:
                break
        self._record.unlink(missing_ok=True)
        return bool(found)

    def log_end(self) -> str:
        """The last 150 characters of the log, in one line."""
        with contextlib.suppress(OSError):
            return " ".join(self.log.read_text(errors="replace")[-2000:].split())[-150:]
        return ""

    def _leader(self) -> psutil.Process | None:
        try:
            record = json.loads(self._record.read_text())
            process = psutil.Process(int(record["pid"]))
            is_same = abs(process.create_time() - float(record["started"])) < _SAME_START_S
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None
        return process if is_same and _is_alive(process) else None

    def _members(self) -> list[psutil.Process]:
        """The leader and all processes with its mark, such as flow runs with their own sessions."""
        leader = self._leader()
        members = [process for process in psutil.process_iter() if self._has_mark(process)]
        return members if leader is None or leader in members else [leader, *members]

    def _left_of(self, signalled: Sequence[psutil.Process]) -> list[psutil.Process]:
        """The members, and the signalled processes that still end: these have no environment."""
        ending = [process for process in signalled if _is_alive(process)]
        return list(dict.fromkeys((*self._members(), *ending)))

    def _has_mark(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self._mark and _is_alive(process)
        except (psutil.Error, OSError):
            return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
