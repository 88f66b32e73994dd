"""Settings of the persistent worker: by work pool, deployment and flow run, and per machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.workers.base import BaseJobConfiguration, BaseVariables
from pydantic import Field, PrivateAttr, field_validator

from deployments.persistent_worker.interpreter import Code

if TYPE_CHECKING:
    from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse

GPUS = "SYNTHSET_GPUS"


class PersistentVariables(BaseVariables):
    """The fields of a work pool or a deployment."""

    env: dict[str, str | None] = Field(
        # An automation marks a run as crashed after five minutes without a heartbeat.
        {
            "DO_NOT_TRACK": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
        },
        title="Environment Variables",
        description="Environment of a flow run. No secrets: the UI shows them.",
    )
    max_runs: int = Field(
        200, ge=1, description="Flow runs after which a slot gets a new child process."
    )
    max_memory_gb: float | None = Field(
        None,
        gt=0,
        description="Memory in 10⁹ bytes; a slot whose child process uses more after a run gets "
        "a new one.",
    )
    grace_s: float = Field(
        30.0,
        ge=0,
        description="Seconds in which a cancelled run can finish its batch before it is killed.",
    )
    gpus: list[int] | None = Field(
        None,
        min_length=1,
        description="GPU of each slot, in turn, as CUDA_VISIBLE_DEVICES counts them. A worker "
        f"with {GPUS} in its environment uses that.",
    )


class PersistentJobConfiguration(BaseJobConfiguration):
    """The settings of one flow run, from its work pool, deployment and itself."""

    max_runs: int = 200
    max_memory_gb: float | None = None
    grace_s: float = 30.0
    gpus: list[int] | None = None

    _code: Code = PrivateAttr(default=Code("", "", ""))

    @property
    def code(self) -> Code:
        """The code of the run."""
        return self._code

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of this run."""
        return {name: value for name, value in self.env.items() if value is not None}

    @property
    def prefect_settings(self) -> dict[str, str]:
        """The variables that Prefect reads at import: they hold for the whole process."""
        return {
            name: value
            for name, value in self.variables.items()
            if name.startswith("PREFECT_") and not name.startswith("PREFECT__")
        }

    @field_validator("command")
    @classmethod
    def _no_command(cls, command: str | None) -> str | None:
        if command:
            raise ValueError(
                "command: a persistent-process work pool runs flows, not commands; leave it "
                "empty, or use a pool of type process"
            )
        return command

    def prepare_for_flow_run(
        self,
        flow_run: "FlowRun",
        deployment: "DeploymentResponse | None" = None,
        flow: "Flow | None" = None,
        work_pool: "WorkPool | None" = None,
        worker_name: str | None = None,
        worker_id: "UUID | None" = None,
    ) -> None:
        """Fill in the fields that depend on the run, and its code."""
        super().prepare_for_flow_run(
            flow_run, deployment, flow, work_pool, worker_name, worker_id=worker_id
        )
        if deployment is not None:
            updated = deployment.updated.isoformat() if deployment.updated else ""
            self._code = Code(str(deployment.id), updated, deployment.entrypoint or "")


def gpu_environment(gpus: Sequence[int], slot: int, host: str) -> dict[str, str]:
    """The variables that give a slot its GPU and the name of that GPU's concurrency limit.

    Empty without GPUs; slots share GPUs in turn if there are more slots.
    """
    if not gpus:
        return {}
    gpu = gpus[slot % len(gpus)]
    return {"CUDA_VISIBLE_DEVICES": str(gpu), "SYNTHSET_GPU_LIMIT": f"gpu:{host}:{gpu}"}
