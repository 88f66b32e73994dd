"""The interpreter that a slot of the warm worker keeps: it runs one flow run after the other.

It speaks JSON lines with its worker over one socket. The worker's orders are ``{"run": id, "code":
key, "env": {...}}`` and ``{"stop": id}``. The answers are ``ready`` once, ``begun`` when an order
has come, and ``code`` when its run is over, with the memory that this process then takes. Models
that a run has loaded stay loaded for the next.
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
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect._internal import control_listener
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.flow_engine import load_flow, load_flow_run, run_flow
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger, get_logger

log = get_logger("warm_slot")

_PR_SET_PDEATHSIG = 1
_DEFECTS = ("CUDA error", "AcceleratorError", "MemoryError")


@dataclass
class Ended:
    """How a run ended: its exit code, and whether this interpreter is fit for another."""

    code: int
    fit: bool = True


@dataclass
class Loaded:
    """A deployment's flow, and the folder that loading it led to."""

    flow: Flow[..., Any]
    folder: str


@dataclass
class Slot:
    """This process's end of the socket, and what it is at.

    ``orphan_s`` is how many seconds a run may take to end once the worker is gone.
    """

    channel: socket.socket
    orphan_s: float
    signalled: bool = False
    orders: "queue.SimpleQueue[dict[str, Any] | None]" = field(default_factory=queue.SimpleQueue)
    running: str | None = None
    stopped: bool = False
    loaded: dict[str, Loaded] = field(default_factory=dict)

    def tell(self, **answer: Any) -> None:
        """Send one line to the worker; a worker that is gone hears nothing."""
        try:
            self.channel.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            log.debug("The worker is gone")

    def listen(self) -> None:
        """Read what the worker says until it hangs up. Runs in a thread beside the flow."""
        with self.channel.makefile("rb") as lines:
            for line in lines:
                order = json.loads(line)
                if "stop" in order:
                    self._stop(order["stop"])
                else:
                    self.tell(begun=order["run"])
                    self.orders.put(order)
        self.orders.put(None)
        if self.running is not None:
            self._end_alone()

    def work(self) -> None:
        """Serve orders until the worker hangs up, stops a run or this process is worn out."""
        while (order := self.orders.get()) is not None:
            self.running = order["run"]
            ended = self._serve(order)
            self.running = None
            fit = ended.fit and not self.stopped
            self.tell(run=order["run"], code=ended.code, memory=resident_bytes(), fit=fit)
            if not fit:
                return

    def _serve(self, order: Mapping[str, Any]) -> Ended:
        with environment(order["env"]):
            # A context of its own: what a flow leaves in context variables ends with its run.
            return contextvars.copy_context().run(self._run, UUID(order["run"]), order["code"])

    def _run(self, run_id: UUID, code: str) -> Ended:
        try:
            run = load_flow_run(run_id)
            logger: Any = flow_run_logger(run)
            if code not in self.loaded:
                try:
                    flow = load_flow(run)
                except Exception:
                    logger.exception("The flow of this deployment cannot be loaded")
                    return Ended(1, fit=False)
                self.loaded[code] = Loaded(flow, os.getcwd())
            known = self.loaded[code]
            os.chdir(known.folder)
            state: Any = run_flow(known.flow, run, return_type="state", error_logger=logger)
            if inspect.iscoroutine(state):
                state = asyncio.run(state)
            return Ended(0, fit=not is_defect(state))
        except (Abort, Pause) as told:
            log.info("Flow run %s was not run to its end: %s", run_id, told or type(told).__name__)
            return Ended(0)
        except TerminationSignal:
            return Ended(0 if self.stopped else -signal.SIGTERM, fit=False)
        except BaseException as error:
            # Also SystemExit: a flow that asks to exit must not take the loaded models with it.
            log.error("Flow run %s broke the engine", run_id, exc_info=True)
            return Ended(1, fit=isinstance(error, Exception))

    def _stop(self, run: str) -> None:
        """Cancel a run: the engine, told that it is meant so, reports it as cancelled."""
        if self.running != run:
            return
        self.stopped = True
        control_listener._set_intent("cancel")
        os.kill(os.getpid(), signal.SIGTERM)

    def _end_alone(self) -> None:
        """End the run of a worker that is gone; its engine reports it as crashed."""
        if not self.signalled:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self.orphan_s)
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve the worker: ``python -m deployments.persistent_worker.child SOCKET WORKER_PID
    ORPHAN_SECONDS``.
    """
    channel, worker, orphan_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    slot = Slot(socket.socket(fileno=channel), orphan_s)
    # What flows start shall not hold the socket open when this process is gone.
    os.set_inheritable(channel, False)
    signal.signal(signal.SIGTERM, lambda *_: end_at_once(worker))
    slot.signalled = end_with_parent(worker)
    threading.Thread(target=slot.listen, name="orders", daemon=True).start()
    slot.tell(ready=os.getpid())
    slot.work()


def end_at_once(worker: int) -> None:
    """What SIGTERM does beside a run, and after the engine has reported one as crashed.

    A worker that lives sweeps up what flows have started; without it, that is done here.
    """
    if os.getppid() != worker:
        os.killpg(0, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def end_with_parent(parent: int) -> bool:
    """Have the kernel send SIGTERM when the parent dies; whether this system does that.

    Exits when the parent has died already.
    """
    if sys.platform != "linux":
        return False
    refused = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)
    return not refused


@contextmanager
def environment(extra: Mapping[str, str]) -> Iterator[None]:
    """Variables and folder of one run; afterwards both are as they were, whatever the run did."""
    before, folder = dict(os.environ), os.getcwd()
    os.environ.update(extra)
    try:
        yield
    finally:
        # Never cleared as a whole: threads that stay read it all the time.
        for name in set(os.environ) - set(before):
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        os.chdir(folder)


def is_defect(state: State[Any]) -> bool:
    """Whether a run failed in a way that leaves the process unfit, as errors of a GPU do."""
    if state.type is not StateType.FAILED:
        return False
    error: Any = state.result(raise_on_failure=False)
    while isinstance(error, BaseException):
        if any(word in f"{type(error).__name__}: {error}" for word in _DEFECTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def resident_bytes() -> int:
    """Bytes of memory that this process takes now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
