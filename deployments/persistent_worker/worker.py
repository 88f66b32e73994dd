"""A Prefect worker whose child processes stay alive between flow runs, with their models loaded.

It serves work pools of type ``persistent-process``: ``prefect worker start --pool POOL --type
persistent-process --limit SLOTS``. See docs/persistent-worker.md.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound, ObjectNotFound
from prefect.workers.base import BaseWorkerResult

from deployments.persistent_worker.interpreter import Interpreter, UnresponsiveChildError
from deployments.persistent_worker.settings import (
    PersistentJobConfiguration,
    PersistentVariables,
    gpu_environment,
)
from deployments.prefect_private import WorkerBase
from models.data.settings import settings as machine_settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

# Seconds between two checks whether a running flow run was cancelled.
WATCH_INTERVAL_S = 2.0


class PersistentResult(BaseWorkerResult):
    """The exit code of a run and the process in which it ran."""


@dataclass
class WorkerSlot:
    """Room for one flow run at a time. Its child process starts with its first run."""

    number: int
    child: Interpreter | None = None


@dataclass
class ActiveRun:
    """A flow run in a child process. ``ended_since``: since when the server calls it ended."""

    child: Interpreter
    grace_s: float
    ended_since: float | None = None


class PersistentWorker(
    WorkerBase[PersistentJobConfiguration, PersistentVariables, PersistentResult]
):
    """Hands flow runs to child processes that stay alive, one for each of its slots."""

    type = "persistent-process"
    job_configuration = PersistentJobConfiguration
    job_configuration_variables = PersistentVariables
    _description = "Flow runs in processes that stay alive and keep their models loaded."
    _display_name = "Persistent process"

    def __init__(self, work_pool_name: str, *, limit: int | None = None, **settings: Any) -> None:
        """A worker with ``limit`` slots; by default one per GPU of SYNTHSET_GPUS, else one.

        Raises:
            SettingsError: SYNTHSET_GPUS is not a list of numbers.
        """
        self._gpus = list(machine_settings().gpus)
        count = limit or len(self._gpus) or 1
        super().__init__(work_pool_name, limit=count, **settings)
        self._host = socket.gethostname()
        self._slots = [WorkerSlot(number) for number in range(count)]
        self._free_slots: asyncio.Queue[WorkerSlot] = asyncio.Queue()
        for slot in self._slots:
            self._free_slots.put_nowait(slot)
        self._active_runs: dict[UUID, ActiveRun] = {}
        self._slot_was_freed = asyncio.Event()
        self._polling = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def setup(self) -> None:
        """Prepare, and start the tasks that watch runs and fill free slots."""
        await super().setup()
        self._start_task(self._watch_runs())
        self._start_task(self._fill_free_slots())

    async def teardown(self, *exc_info: Any) -> None:
        """End the active runs, then the child processes."""
        for task in self._tasks:
            task.cancel()
        try:
            await super().teardown(*exc_info)
        finally:
            with anyio.CancelScope(shield=True):
                children = [slot.child for slot in self._slots if slot.child]
                await asyncio.gather(*(child.retire() for child in children))

    async def run(
        self,
        flow_run: "FlowRun",
        configuration: PersistentJobConfiguration,
        task_status: "anyio.abc.TaskStatus[Any] | None" = None,
    ) -> PersistentResult:
        """Run a flow run in a slot.

        Returns:
            The exit code: 0 if the run reported its state, whichever it is; the negative signal if
            its process died.

        Raises:
            UnresponsiveChildError: no child process starts; Prefect marks the run as crashed.
        """
        slot = await self._free_slots.get()
        try:
            child = await self._begin(slot, flow_run, configuration)
            identifier = f"{self._host}:{child.process.pid}"
            if task_status is not None:
                task_status.started(identifier)
            code = await self._wait_for_exit(slot, child, flow_run, configuration)
            return PersistentResult(status_code=code, identifier=identifier)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await self._abandon(slot, flow_run, configuration.grace_s)
            raise
        finally:
            self._free_slots.put_nowait(slot)
            self._slot_was_freed.set()

    async def kill_infrastructure(
        self,
        infrastructure_pid: str,
        configuration: PersistentJobConfiguration,
        grace_seconds: int = 30,
    ) -> None:
        """End the process ``host:pid`` if it runs the configuration's flow run.

        Raises:
            InfrastructureNotAvailable: the process is on another machine.
            InfrastructureNotFound: there is no such process, or it has another run by now.
        """
        host, _, pid = infrastructure_pid.rpartition(":")
        if host != self._host:
            raise InfrastructureNotAvailable(
                f"{infrastructure_pid} is not on {self._host}; a worker on {host} can end it"
            )
        run_id = configuration.env.get("PREFECT__FLOW_RUN_ID") or ""
        for active in self._active_runs.values():
            if str(active.child.process.pid) == pid and active.child.run_id == run_id:
                await active.child.cancel(run_id, grace_seconds)
                return
        raise InfrastructureNotFound(
            f"{infrastructure_pid} does not run flow run {run_id} any more"
        )

    async def get_and_submit_flow_runs(self) -> "list[FlowRun]":
        """Take scheduled runs, as many as there are free slots."""
        async with self._polling:
            return await super().get_and_submit_flow_runs()

    def is_active(self, run_id: UUID) -> bool:
        """Whether a run has begun in one of the slots."""
        return run_id in self._active_runs

    async def _begin(
        self, slot: WorkerSlot, flow_run: "FlowRun", configuration: PersistentJobConfiguration
    ) -> Interpreter:
        """Hand the run to the slot's child process, or to a new one if that can't take it."""
        gpu = gpu_environment(self._gpus or configuration.gpus or (), slot.number, self._host)
        environment = {**configuration.prefect_settings, **gpu}
        for _ in range(2):
            if slot.child is not None and not slot.child.can_run(configuration.code, environment):
                await self._release(slot)
            if slot.child is None:
                slot.child = await Interpreter.start(environment, configuration.grace_s)
            child = slot.child
            variables = {**configuration.variables, **gpu}
            if await child.begin(str(flow_run.id), configuration.code, variables):
                return child
            self.logger.warning("The child of slot %d does not answer; replacing it", slot.number)
            slot.child = None
            await child.stop(0)
        raise UnresponsiveChildError(
            f"slot {slot.number} started no flow run, neither in its child process nor in a new "
            "one; see the worker's output, and restart the worker"
        )

    async def _wait_for_exit(
        self,
        slot: WorkerSlot,
        child: Interpreter,
        flow_run: "FlowRun",
        configuration: PersistentJobConfiguration,
    ) -> int:
        """Wait for the end of a run; its exit code. Replace a child that can't take another run."""
        self._active_runs[flow_run.id] = ActiveRun(child, configuration.grace_s)
        try:
            code = await child.finish()
        finally:
            del self._active_runs[flow_run.id]
        if child.is_cancelled:
            await self._ensure_cancelled(flow_run)
            code = 0
        limit_gb = configuration.max_memory_gb
        is_too_large = limit_gb is not None and child.memory > limit_gb * 1e9
        is_worn = is_too_large or child.runs >= configuration.max_runs
        if is_worn or not child.is_fit or child.is_cancelled:
            await self._release(slot)
        return code

    async def _abandon(self, slot: WorkerSlot, flow_run: "FlowRun", grace_s: float) -> None:
        """End a run because the worker stops."""
        child, slot.child = slot.child, None
        if child is not None:
            await child.stop(grace_s)
        await self.report_crash(flow_run, "The worker stopped during this run; run it again.")

    async def _release(self, slot: WorkerSlot) -> None:
        """End the child process of a slot."""
        child, slot.child = slot.child, None
        if child is not None:
            await child.retire()

    async def _ensure_cancelled(self, flow_run: "FlowRun") -> None:
        """Set a run to Cancelled if its engine was killed before it could."""
        with contextlib.suppress(ObjectNotFound):
            run = await self.client.read_flow_run(flow_run.id)
            if run.state is None or not run.state.is_final():
                await self.report_cancellation(run, "Cancelled by the worker.")

    async def _watch_runs(self) -> None:
        """End runs that were cancelled, deleted, or that hang after the server calls them ended."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            watched = {
                run_id: active
                for run_id, active in self._active_runs.items()
                if not active.child.is_cancelled
            }
            if not watched:
                continue
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=list(watched)))
            try:
                runs = await self.client.read_flow_runs(flow_run_filter=wanted)
            except httpx.HTTPError as error:
                self.logger.debug("Cannot read the states of active runs: %s", error)
                continue
            states = {run.id: run.state for run in runs}
            for run_id, active in watched.items():
                is_active = self._active_runs.get(run_id) is active
                if is_active and _must_end(active, states.get(run_id)):
                    self.logger.info("Ending flow run %s", run_id)
                    self._start_task(active.child.cancel(str(run_id), active.grace_s))

    async def _fill_free_slots(self) -> None:
        """Ask for the next run as soon as one has ended, not at the next poll."""
        while True:
            await self._slot_was_freed.wait()
            self._slot_was_freed.clear()
            try:
                await self.get_and_submit_flow_runs()
            except httpx.HTTPError as error:
                self.logger.debug("Cannot ask for more flow runs: %s", error)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _must_end(active: ActiveRun, state: State[Any] | None) -> bool:
    """Whether a run, now in this state on the server, has to be ended; None: it was deleted."""
    if state is None or state.is_cancelling():
        return True
    if not state.is_final():
        active.ended_since = None
        return False
    active.ended_since = active.ended_since or time.monotonic()
    return time.monotonic() - active.ended_since > active.grace_s
