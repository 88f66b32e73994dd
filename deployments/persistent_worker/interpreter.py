"""A warm interpreter as its worker sees it: start it, hand it a run, cancel the run, end it."""

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

# An interpreter on a busy machine takes long to import what it needs.
READY_S = 120.0
ANSWER_S = 10.0
RETIRE_S = 15.0


class SlotSilent(RuntimeError):
    """An interpreter did not start, or does not answer."""


@dataclass(frozen=True)
class Code:
    """The code of a flow run: its deployment, and when and from where that was deployed."""

    deployment: str
    updated: str
    entrypoint: str

    @property
    def key(self) -> str:
        """What tells this code from all other."""
        return f"{self.deployment} {self.updated} {self.entrypoint}"


@dataclass
class Interpreter:
    """A child process that runs `deployments.persistent_worker.child`."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    folder: str
    environment: dict[str, str]
    codes: dict[str, Code] = field(default_factory=dict)
    run: str | None = None
    runs: int = 0
    memory: int = 0
    fit: bool = True
    cancelled: bool = False

    @classmethod
    async def start(cls, environment: Mapping[str, str], orphan_s: float) -> "Interpreter":
        """Start one in a session and a temporary folder of its own.

        Args:
            environment: variables beyond the worker's own, which hold for all its runs.
            orphan_s: seconds that a run may take to end when the worker is gone.

        Raises:
            SlotSilent: it does not get ready; its output tells why.
        """
        ours, theirs = socket.socketpair()
        folder = tempfile.mkdtemp(prefix="synthset-slot-")
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "deployments.persistent_worker.child"),
                *(str(theirs.fileno()), str(os.getpid()), str(orphan_s)),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **environment},
                cwd=folder,
                start_new_session=True,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        child = cls(process, reader, writer, folder, dict(environment))
        try:
            if await child._hear("ready", READY_S) is None:
                raise SlotSilent(
                    f"the interpreter of a slot did not start within {READY_S:.0f} s; the worker's "
                    "output tells why"
                )
        except BaseException:
            child._kill()
            raise
        return child

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.returncode is None

    def suits(self, code: Code, environment: Mapping[str, str]) -> bool:
        """Whether a run of this code can be handed over: modules are loaded once, so code that was
        deployed since then needs a new interpreter.
        """
        if not (self.alive and self.fit and self.environment == environment):
            return False
        known = self.codes.get(code.deployment)
        if known is not None:
            return known == code
        return not self.codes or code.updated <= max(one.updated for one in self.codes.values())

    async def begin(self, run: str, code: Code, env: Mapping[str, str]) -> bool:
        """Hand over a flow run; whether the interpreter answered. One that did not ran nothing."""
        self.run, self.codes[code.deployment] = run, code
        self._say({"run": run, "code": code.key, "env": dict(env)})
        return await self._hear("begun", ANSWER_S) is not None

    async def finish(self) -> int:
        """Wait for the run's end. The exit code; negative is the signal that ended the process."""
        answer = await self._hear("code", None)
        self.run = None
        self.runs += 1
        if answer is not None:
            self.memory, self.fit = int(answer["memory"]), bool(answer["fit"])
            return int(answer["code"])
        self.fit = False
        # A process that ended well without an answer has left its run unfinished.
        return await self._end_within(ANSWER_S) or 1

    async def cancel(self, run: str, grace_s: float) -> None:
        """Stop the run, and with it the process: politely, and after ``grace_s`` by force.

        A process that is at another run by now is left alone.
        """
        if self.run != run:
            return
        self.cancelled = True
        self._say({"stop": run})
        await self._end_within(grace_s)

    async def stop(self, grace_s: float) -> None:
        """End the process with the run it is at, which its engine reports as crashed."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        await self._end_within(grace_s)

    async def retire(self) -> None:
        """End an idle process, once it has sent its last logs."""
        self.writer.close()
        await self._end_within(RETIRE_S)

    def _say(self, order: Mapping[str, Any]) -> None:
        # Small enough for the socket's buffer; a child that is gone is noticed by what it answers.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self.writer.write(json.dumps(order).encode() + b"\n")

    async def _hear(self, word: str, within_s: float | None) -> dict[str, Any] | None:
        """The next answer; None when it is another, or none comes in time or before the end."""
        line = asyncio.ensure_future(self.reader.readline())
        end = asyncio.ensure_future(self.process.wait())
        try:
            await asyncio.wait({line, end}, timeout=within_s, return_when="FIRST_COMPLETED")
            if end.done():
                # What it said last may still be on its way. A grandchild may hold the socket open.
                await asyncio.wait({line}, timeout=1.0)
            if not line.done():
                return None
            answer: dict[str, Any] = json.loads(line.result() or b"{}")
            return answer if word in answer else None
        except (OSError, ValueError):
            return None
        finally:
            line.cancel()
            end.cancel()

    async def _end_within(self, seconds: float) -> int:
        """Wait for the process, then kill what is left of its group."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.process.wait(), seconds)
        self._kill()
        return await self.process.wait()

    def _kill(self) -> None:
        self.fit = False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.writer.close()
        shutil.rmtree(self.folder, ignore_errors=True)
