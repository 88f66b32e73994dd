"""A Prefect worker that keeps an interpreter with its loaded models from one run to the next.

Work pools of type ``warm-process`` are served by it: ``prefect worker start --pool POOL --type
warm-process --limit SLOTS``. See docs/warm-worker.md.
"""

import asyncio
import contextlib
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound, ObjectNotFound
from prefect.workers.base import BaseWorker, BaseWorkerResult

from deployments.persistent_worker.interpreter import Interpreter, SlotSilent
from deployments.persistent_worker.settings import (
    WarmJobConfiguration,
    WarmVariables,
    gpu_environment,
)
from models.data.settings import settings as machine_settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import WorkerFlowRunResponse

WATCH_S = 2.0


class WarmResult(BaseWorkerResult):
    """The exit code of a run and the process it ran in."""


@dataclass
class Slot:
    """A place for one run at a time, with its interpreter once one was needed."""

    number: int
    child: Interpreter | None = None


@dataclass
class AtWork:
    """A run that a child is at; ``over_since`` is when the server first called it over."""

    child: Interpreter
    grace_s: float
    over_since: float | None = None


class WarmWorker(BaseWorker[WarmJobConfiguration, WarmVariables, WarmResult]):
    """Hands flow runs to interpreters that stay, one for each of its slots."""

    type = "warm-process"
    job_configuration = WarmJobConfiguration
    job_configuration_variables = WarmVariables
    _description = "Flow runs one after the other in interpreters that keep their models loaded."
    _display_name = "Warm process"

    def __init__(self, work_pool_name: str, *, limit: int | None = None, **settings: Any) -> None:
        """A worker of ``limit`` slots: without it one for each GPU of SYNTHSET_GPUS, else one.

        Raises:
            SettingsError: SYNTHSET_GPUS is not a list of numbers.
        """
        self._gpus = list(machine_settings().gpus)
        slots = limit or len(self._gpus) or 1
        super().__init__(work_pool_name, limit=slots, **settings)
        self._host = socket.gethostname()
        self._slots = [Slot(number) for number in range(slots)]
        self._free: asyncio.Queue[Slot] = asyncio.Queue()
        for slot in self._slots:
            self._free.put_nowait(slot)
        self._at_work: dict[UUID, AtWork] = {}
        self._look_for_more = asyncio.Event()
        self._polling = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def setup(self) -> None:
        """Get ready, and begin to watch over runs."""
        await super().setup()
        self._do(self._watch())
        self._do(self._refill())

    async def teardown(self, *exc_info: Any) -> None:
        """End the runs at work, then the interpreters."""
        for task in self._tasks:
            task.cancel()
        try:
            await super().teardown(*exc_info)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.gather(*(one.child.retire() for one in self._slots if one.child))

    async def run(
        self,
        flow_run: "FlowRun",
        configuration: WarmJobConfiguration,
        task_status: "anyio.abc.TaskStatus[Any] | None" = None,
    ) -> WarmResult:
        """Run a flow run in a slot.

        Returns:
            The exit code that the run would have had in a process of its own: 0 when its state was
            reported, whichever it is; the negative signal when its process died.

        Raises:
            SlotSilent: no interpreter starts; Prefect marks the run as crashed.
        """
        slot = await self._free.get()
        try:
            child = await self._begin(slot, flow_run, configuration)
            identifier = f"{self._host}:{child.process.pid}"
            if task_status is not None:
                task_status.started(identifier)
            code = await self._see_through(slot, child, flow_run, configuration)
            return WarmResult(status_code=code, identifier=identifier)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await self._abandon(slot, flow_run, configuration.grace_s)
            raise
        finally:
            self._free.put_nowait(slot)
            self._look_for_more.set()

    async def kill_infrastructure(
        self,
        infrastructure_pid: str,
        configuration: WarmJobConfiguration,
        grace_seconds: int = 30,
    ) -> None:
        """End the process ``host:pid`` if it is at the configuration's flow run.

        Raises:
            InfrastructureNotAvailable: the process is on another machine.
            InfrastructureNotFound: no such process, or it is at another run by now.
        """
        host, _, pid = infrastructure_pid.rpartition(":")
        if host != self._host:
            raise InfrastructureNotAvailable(
                f"{infrastructure_pid} is not on {self._host}; a worker on {host} can end it"
            )
        run = configuration.env.get("PREFECT__FLOW_RUN_ID") or ""
        for work in self._at_work.values():
            if str(work.child.process.pid) == pid and work.child.run == run:
                await work.child.cancel(run, grace_seconds)
                return
        raise InfrastructureNotFound(f"{infrastructure_pid} is at flow run {run} no more")

    async def get_and_submit_flow_runs(self) -> "list[FlowRun]":
        """Take scheduled runs, as many as there are free slots."""
        async with self._polling:
            return await super().get_and_submit_flow_runs()

    async def _get_scheduled_flow_runs(self) -> "list[WorkerFlowRunResponse]":
        # A slow answer may still list a run that was begun since.
        found = await super()._get_scheduled_flow_runs()
        return [one for one in found if one.flow_run.id not in self._at_work]

    async def _begin(
        self, slot: Slot, flow_run: "FlowRun", configuration: WarmJobConfiguration
    ) -> Interpreter:
        """Hand the run to the slot's interpreter, or to a new one where that is unfit or silent."""
        gpu = gpu_environment(self._gpus or configuration.gpus or (), slot.number, self._host)
        environment = {**configuration.prefect_settings, **gpu}
        for _ in range(2):
            if slot.child is not None and not slot.child.suits(configuration.code, environment):
                await self._let_go(slot)
            if slot.child is None:
                slot.child = await Interpreter.start(environment, configuration.grace_s)
            child = slot.child
            env = {**configuration.variables, **gpu}
            if await child.begin(str(flow_run.id), configuration.code, env):
                return child
            self._logger.warning("Slot %d does not answer; it is replaced", slot.number)
            slot.child = None
            await child.stop(0)
        raise SlotSilent(f"slot {slot.number} took no flow run, nor did a new interpreter")

    async def _see_through(
        self,
        slot: Slot,
        child: Interpreter,
        flow_run: "FlowRun",
        configuration: WarmJobConfiguration,
    ) -> int:
        self._at_work[flow_run.id] = AtWork(child, configuration.grace_s)
        try:
            code = await child.finish()
        finally:
            del self._at_work[flow_run.id]
        if child.cancelled:
            await self._settle_cancelled(flow_run)
            code = 0
        bound = configuration.max_memory_gb
        too_large = bound is not None and child.memory > bound * 1e9
        if too_large or child.runs >= configuration.max_runs or not child.fit or child.cancelled:
            await self._let_go(slot)
        return code

    async def _abandon(self, slot: Slot, flow_run: "FlowRun", grace_s: float) -> None:
        """End a run because the worker is stopped."""
        child, slot.child = slot.child, None
        if child is not None:
            await child.stop(grace_s)
        await self._propose_crashed_state(
            flow_run, "The worker was stopped while it was at this run; run it again."
        )

    async def _let_go(self, slot: Slot) -> None:
        child, slot.child = slot.child, None
        if child is not None:
            await child.retire()

    async def _settle_cancelled(self, flow_run: "FlowRun") -> None:
        """Call a run cancelled whose engine was killed before it could."""
        with contextlib.suppress(ObjectNotFound):
            now = await self.client.read_flow_run(flow_run.id)
            if now.state is None or not now.state.is_final():
                await self._mark_flow_run_as_cancelled(now, {"message": "Cancelled by the worker."})

    async def _watch(self) -> None:
        """End runs that are being cancelled, and those that the server calls over or forgot."""
        while True:
            await asyncio.sleep(WATCH_S)
            watched = {run: at for run, at in self._at_work.items() if not at.child.cancelled}
            if not watched:
                continue
            asked = FlowRunFilter(id=FlowRunFilterId(any_=list(watched)))
            try:
                runs = await self.client.read_flow_runs(flow_run_filter=asked)
            except httpx.HTTPError as error:
                self._logger.debug("Cannot ask for the states of runs at work: %s", error)
                continue
            states = {run.id: run.state for run in runs}
            for run, at in watched.items():
                if self._at_work.get(run) is not at:
                    continue
                state = states.get(run)
                over = state is not None and state.is_final()
                at.over_since = (at.over_since or time.monotonic()) if over else None
                hangs = at.over_since and time.monotonic() - at.over_since > at.grace_s
                if state is None or state.is_cancelling() or hangs:
                    self._logger.info("Ending flow run %s", run)
                    self._do(at.child.cancel(str(run), at.grace_s))

    async def _refill(self) -> None:
        """Look for the next run as soon as one has ended, not at the next poll."""
        while True:
            await self._look_for_more.wait()
            self._look_for_more.clear()
            try:
                await self.get_and_submit_flow_runs()
            except httpx.HTTPError as error:
                self._logger.debug("Cannot look for more flow runs: %s", error)

    def _do(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
