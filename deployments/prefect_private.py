"""The private names of Prefect that synthset uses, all in this file.

Prefect may change them in any release. tests/deployments/test_prefect_private.py checks that each
exists with the signature that this file relies on.
"""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from prefect._internal import control_listener
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

if TYPE_CHECKING:
    from logging import Logger, LoggerAdapter

    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import WorkerFlowRunResponse
    from prefect.server.database.configurations import AioSqliteConfiguration
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

Configuration = TypeVar("Configuration", bound=BaseJobConfiguration)
Variables = TypeVar("Variables", bound=BaseVariables)
RunResult = TypeVar("RunResult", bound=BaseWorkerResult)


def announce_cancellation() -> None:
    """Tell the engine of this process that the next SIGTERM cancels the flow run."""
    control_listener._set_intent("cancel")


class WorkerBase(BaseWorker[Configuration, Variables, RunResult]):
    """Prefect's worker, with the private methods that a persistent worker needs."""

    # Prefect registers every subclass under a type of its own. No work pool has this one.
    type = "synthset-base"

    @property
    def logger(self) -> "Logger | LoggerAdapter[Logger]":
        """The worker's log, which the server shows."""
        return self._logger

    def is_active(self, run_id: UUID) -> bool:
        """Whether a run has begun here, though the server may still list it as scheduled."""
        raise NotImplementedError

    async def report_crash(self, flow_run: "FlowRun", message: str) -> None:
        """Set a run to Crashed, unless the server refuses."""
        await self._propose_crashed_state(flow_run, message)

    async def report_cancellation(self, flow_run: "FlowRun", message: str) -> None:
        """Set a run to Cancelled."""
        await self._mark_flow_run_as_cancelled(flow_run, {"message": message})

    async def _get_scheduled_flow_runs(self) -> "list[WorkerFlowRunResponse]":
        # A slow answer may list a run that has begun in the meantime.
        found = await super()._get_scheduled_flow_runs()
        return [response for response in found if not self.is_active(response.flow_run.id)]


def has_ephemeral_server() -> bool:
    """Whether Prefect's clients in this process have a server."""
    # Importing it takes 2 seconds; who has a server has imported it.
    server = sys.modules.get("prefect.server.api.server")
    return server is not None and bool(server.SubprocessASGIServer().running)


def set_ephemeral_server(process: subprocess.Popen[bytes], port: int) -> None:
    """Let Prefect's clients in this process use a server that runs on a port of this machine."""
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    server.port, server.server_process, server.running = port, process, True


def lock_sqlite_before_reading() -> None:
    """Let each transaction of the server in this process take SQLite's write lock at its start.

    Prefect creates a flow run in a transaction that reads and then writes. If another transaction
    wrote in between, SQLite refuses at once, and the client tries again after about two seconds.
    A transaction that has the lock from its start waits for it instead, for milliseconds.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction

    @asynccontextmanager
    async def begin_with_lock(
        configuration: "AioSqliteConfiguration",
        session: "AsyncSession",
        with_for_update: bool = True,
    ) -> "AsyncIterator[AsyncSessionTransaction]":
        async with begin(configuration, session, with_for_update=True) as transaction:
            yield transaction

    # Prefect has no setting for it.
    AioSqliteConfiguration.begin_transaction = begin_with_lock  # type: ignore[method-assign, assignment]
