"""The worker's side of a child process: start it, hand it a flow run, cancel the run, end it."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# On a busy machine the imports of a child process take long.
START_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 10.0
RETIRE_TIMEOUT_S = 15.0


class UnresponsiveChildError(RuntimeError):
    """A child process did not start, or does not answer."""


@dataclass(frozen=True)
class Code:
    """The code of a flow run: its deployment, when that was updated, and its entrypoint."""

    deployment: str
    updated: str
    entrypoint: str

    @property
    def key(self) -> str:
        """A text that differs from that of any other code."""
        return f"{self.deployment} {self.updated} {self.entrypoint}"


@dataclass
class Interpreter:
    """A process that runs `deployments.persistent_worker.child`.

    ``memory`` is in bytes after the last run. ``is_fit``: it can take another run.
    """

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    folder: str
    environment: dict[str, str]
    codes: dict[str, Code] = field(default_factory=dict)
    run_id: str | None = None
    runs: int = 0
    memory: int = 0
    is_fit: bool = True
    is_cancelled: bool = False

    @classmethod
    async def start(cls, environment: Mapping[str, str], orphan_s: float) -> "Interpreter":
        """Start a child process in its own session and temporary folder.

        Args:
            environment: variables for all of its runs, added to the worker's own.
            orphan_s: seconds in which a run may end after the worker died.

        Raises:
            UnresponsiveChildError: it does not get ready; the worker's output says why.
        """
        worker_end, child_end = socket.socketpair()
        folder = tempfile.mkdtemp(prefix="synthset-slot-")
        with child_end:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "deployments.persistent_worker.child",
                str(child_end.fileno()),
                str(os.getpid()),
                str(orphan_s),
                pass_fds=[child_end.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **environment},
                cwd=folder,
                start_new_session=True,
            )
        reader, writer = await asyncio.open_connection(sock=worker_end)
        child = cls(process, reader, writer, folder, dict(environment))
        try:
            if await child._read_answer("ready", START_TIMEOUT_S) is None:
                raise UnresponsiveChildError(
                    f"a child process did not start within {START_TIMEOUT_S:.0f} s; see the "
                    "worker's output, and restart the worker"
                )
        except BaseException:
            child._kill()
            raise
        return child

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.returncode is None

    def can_run(self, code: Code, environment: Mapping[str, str]) -> bool:
        """Whether the child can run this code.

        A process imports a module once. Code that was deployed later needs a new process.
        """
        if not (self.is_alive and self.is_fit and self.environment == environment):
            return False
        known = self.codes.get(code.deployment)
        if known is not None:
            return known == code
        return not self.codes or code.updated <= max(
            loaded.updated for loaded in self.codes.values()
        )

    async def begin(self, run_id: str, code: Code, env: Mapping[str, str]) -> bool:
        """Hand over a flow run; whether the child answered. Without an answer it runs nothing."""
        self.run_id, self.codes[code.deployment] = run_id, code
        self._send({"run": run_id, "code": code.key, "env": dict(env)})
        return await self._read_answer("begun", ANSWER_TIMEOUT_S) is not None

    async def finish(self) -> int:
        """Wait for the end of the run; its exit code, or minus the signal that ended it."""
        answer = await self._read_answer("code", None)
        self.run_id = None
        self.runs += 1
        if answer is not None:
            self.memory, self.is_fit = int(answer["memory"]), bool(answer["fit"])
            return int(answer["code"])
        self.is_fit = False
        # A process that exits with 0 but without an answer left its run unfinished.
        return await self._wait_then_kill(ANSWER_TIMEOUT_S) or 1

    async def cancel(self, run_id: str, grace_s: float) -> None:
        """Cancel the run and end the process; kill it after ``grace_s``.

        Does nothing if the process has another run by now.
        """
        if self.run_id != run_id:
            return
        self.is_cancelled = True
        self._send({"stop": run_id})
        await self._wait_then_kill(grace_s)

    async def stop(self, grace_s: float) -> None:
        """End the process with its run, which its engine reports as crashed."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        await self._wait_then_kill(grace_s)

    async def retire(self) -> None:
        """End an idle process after it has sent its last logs."""
        self.writer.close()
        await self._wait_then_kill(RETIRE_TIMEOUT_S)

    def _send(self, order: Mapping[str, Any]) -> None:
        # Orders fit into the socket's buffer. A child that died is noticed by its missing answer.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self.writer.write(json.dumps(order).encode() + b"\n")

    async def _read_answer(self, key: str, timeout_s: float | None) -> dict[str, Any] | None:
        """The next answer if it has the key; None after the timeout or the end of the process."""
        line = asyncio.ensure_future(self.reader.readline())
        end = asyncio.ensure_future(self.process.wait())
        try:
            await asyncio.wait({line, end}, timeout=timeout_s, return_when="FIRST_COMPLETED")
            if end.done():
                # The last answer may still be in the socket, which a grandchild may hold open.
                await asyncio.wait({line}, timeout=1.0)
            if not line.done():
                return None
            answer: dict[str, Any] = json.loads(line.result() or b"{}")
            return answer if key in answer else None
        except (OSError, ValueError):
            return None
        finally:
            line.cancel()
            end.cancel()

    async def _wait_then_kill(self, timeout_s: float) -> int:
        """Wait for the process, then kill the rest of its group; the exit code."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.process.wait(), timeout_s)
        self._kill()
        return await self.process.wait()

    def _kill(self) -> None:
        self.is_fit = False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.writer.close()
        shutil.rmtree(self.folder, ignore_errors=True)
