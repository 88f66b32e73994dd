"""The child process of a slot of the persistent worker: it runs one flow run after the other.

It exchanges JSON lines with the worker over a socket. The worker's orders are ``{"run": id, "code":
key, "env": {...}}`` and ``{"stop": id}``. The child answers ``ready`` once, ``begun`` for each run
that it received, and ``code`` at the end of a run, with the memory of this process. Models that a
run loads stay loaded for the next run.
"""

import asyncio
import contextvars
import ctypes
import inspect
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psutil
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.flow_engine import load_flow, load_flow_run, run_flow
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger, get_logger

from deployments.prefect_private import announce_cancellation

log = get_logger("persistent_worker.child")

_PR_SET_PDEATHSIG = 1
# After these errors a process can't use its GPU or its memory any more.
_FATAL_ERRORS = ("CUDA error", "AcceleratorError", "MemoryError")


@dataclass
class RunEnd:
    """How a run ended: its exit code, and whether this process can take another run."""

    code: int
    is_fit: bool = True


@dataclass
class LoadedFlow:
    """The flow of a deployment, and the working directory after loading it."""

    flow: Flow[..., Any]
    folder: str


@dataclass
class ChildProcess:
    """This process: its end of the socket and its current run.

    ``orphan_s``: seconds in which a run may end after the worker died. ``gets_signal``: the kernel
    sends SIGTERM when the worker dies.
    """

    channel: socket.socket
    orphan_s: float
    gets_signal: bool = False
    orders: "queue.SimpleQueue[dict[str, Any] | None]" = field(default_factory=queue.SimpleQueue)
    run_id: str | None = None
    is_cancelled: bool = False
    flows: dict[str, LoadedFlow] = field(default_factory=dict)

    def send(self, **answer: Any) -> None:
        """Send one line to the worker, if it still lives."""
        try:
            self.channel.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            log.debug("The worker is gone")

    def read_orders(self) -> None:
        """Read orders until the worker closes the socket. Runs in its own thread."""
        with self.channel.makefile("rb") as lines:
            for line in lines:
                order = json.loads(line)
                if "stop" in order:
                    self._cancel(order["stop"])
                else:
                    self.send(begun=order["run"])
                    self.orders.put(order)
        self.orders.put(None)
        if self.run_id is not None:
            self._end_without_worker()

    def serve(self) -> None:
        """Run orders until the socket closes, a run is cancelled, or this process is unfit."""
        while (order := self.orders.get()) is not None:
            self.run_id = order["run"]
            end = self._execute(order)
            self.run_id = None
            is_fit = end.is_fit and not self.is_cancelled
            memory = psutil.Process().memory_info().rss
            self.send(run=order["run"], code=end.code, memory=memory, fit=is_fit)
            if not is_fit:
                return

    def _execute(self, order: Mapping[str, Any]) -> RunEnd:
        with environment(order["env"]):
            # A new context: the next run must not see the context variables of this one.
            return contextvars.copy_context().run(self._run, UUID(order["run"]), order["code"])

    def _run(self, run_id: UUID, code: str) -> RunEnd:
        try:
            run = load_flow_run(run_id)
            logger: Any = flow_run_logger(run)
            if code not in self.flows:
                try:
                    flow = load_flow(run)
                except Exception:
                    logger.exception("The flow of this deployment cannot be loaded")
                    return RunEnd(1, is_fit=False)
                self.flows[code] = LoadedFlow(flow, os.getcwd())
            loaded = self.flows[code]
            os.chdir(loaded.folder)
            state: Any = run_flow(loaded.flow, run, return_type="state", error_logger=logger)
            if inspect.iscoroutine(state):
                state = asyncio.run(state)
            return RunEnd(0, is_fit=not is_fatal(state))
        except (Abort, Pause) as error:
            log.info("Flow run %s did not run: %s", run_id, error or type(error).__name__)
            return RunEnd(0)
        except TerminationSignal:
            return RunEnd(0 if self.is_cancelled else -signal.SIGTERM, is_fit=False)
        except BaseException as error:
            # SystemExit too: a flow that calls exit() must not end the process with its models.
            log.error("Flow run %s broke the engine", run_id, exc_info=True)
            return RunEnd(1, is_fit=isinstance(error, Exception))

    def _cancel(self, run_id: str) -> None:
        """Cancel the run if it is the current one; the engine reports it as cancelled."""
        if self.run_id != run_id:
            return
        self.is_cancelled = True
        announce_cancellation()
        os.kill(os.getpid(), signal.SIGTERM)

    def _end_without_worker(self) -> None:
        """End the run of a worker that died; the engine reports it as crashed."""
        if not self.gets_signal:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self.orphan_s)
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve a worker. Arguments: the socket's descriptor, the worker's id, seconds for orphans."""
    descriptor, worker_pid, orphan_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    child = ChildProcess(socket.socket(fileno=descriptor), orphan_s)
    # Processes that flows start must not keep the socket open after this process has ended.
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGTERM, lambda *_: exit_on_sigterm(worker_pid))
    child.gets_signal = end_with_parent(worker_pid)
    threading.Thread(target=child.read_orders, name="orders", daemon=True).start()
    child.send(ready=os.getpid())
    child.serve()


def exit_on_sigterm(worker_pid: int) -> None:
    """End this process when no run handles SIGTERM.

    A living worker kills the processes that flows started. Without a worker this process does.
    """
    if os.getppid() != worker_pid:
        os.killpg(0, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def end_with_parent(parent_pid: int) -> bool:
    """Ask the kernel for SIGTERM when the parent dies; whether this system supports that.

    Exits if the parent has died already.
    """
    if sys.platform != "linux":
        return False
    error = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit(0)
    return not error


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set the variables of one run; then restore all variables and the working directory."""
    before, folder = dict(os.environ), os.getcwd()
    os.environ.update(variables)
    try:
        yield
    finally:
        # os.environ is never empty in between: other threads read it all the time.
        for name in set(os.environ) - set(before):
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        os.chdir(folder)


def is_fatal(state: State[Any]) -> bool:
    """Whether a run failed with an error after which the process is unfit, such as a CUDA error."""
    if state.type is not StateType.FAILED:
        return False
    error: Any = state.result(raise_on_failure=False)
    while isinstance(error, BaseException):
        text = f"{type(error).__name__}: {error}"
        if any(name in text for name in _FATAL_ERRORS):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
