"""What may be set for warm interpreters: by work pool, deployment and flow run, and per machine."""

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


class WarmVariables(BaseVariables):
    """What a work pool or a deployment may set."""

    env: dict[str, str | None] = Field(
        # A rule takes a run that is not heard of for five minutes for dead.
        {
            "DO_NOT_TRACK": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
        },
        title="Environment Variables",
        description="Environment of a flow run. No secrets: they are shown in the UI.",
    )
    max_runs: int = Field(
        200, ge=1, description="Flow runs after which a slot gets a new interpreter."
    )
    max_memory_gb: float | None = Field(
        None,
        gt=0,
        description="A slot whose interpreter takes more memory than this after a run, in 10⁹ "
        "bytes, gets a new one.",
    )
    grace_s: float = Field(
        30.0,
        ge=0,
        description="Seconds that a cancelled run has to finish its batch before it is killed.",
    )
    gpus: list[int] | None = Field(
        None,
        min_length=1,
        description="GPU of each slot, in turn, as CUDA_VISIBLE_DEVICES counts them. A worker "
        f"with {GPUS} in its environment uses that.",
    )


class WarmJobConfiguration(BaseJobConfiguration):
    """The settings of one flow run, filled in from work pool, deployment and run."""

    max_runs: int = 200
    max_memory_gb: float | None = None
    grace_s: float = 30.0
    gpus: list[int] | None = None

    _code: Code = PrivateAttr(default=Code("", "", ""))

    @property
    def code(self) -> Code:
        """What code the run is of."""
        return self._code

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of this run."""
        return {name: value for name, value in self.env.items() if value is not None}

    @property
    def prefect_settings(self) -> dict[str, str]:
        """The variables that Prefect reads once, when it is imported: they hold for a process."""
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
                "command: a warm-process work pool runs flows, not commands; leave it empty, or "
                "use a pool of type process"
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
        """Fill in what depends on the run, and keep what tells its code."""
        super().prepare_for_flow_run(
            flow_run, deployment, flow, work_pool, worker_name, worker_id=worker_id
        )
        if deployment is not None:
            updated = deployment.updated.isoformat() if deployment.updated else ""
            self._code = Code(str(deployment.id), updated, deployment.entrypoint or "")


def gpu_environment(gpus: Sequence[int], slot: int, host: str) -> dict[str, str]:
    """What shows a slot its GPU and names the concurrency limit of it; nothing without GPUs."""
    if not gpus:
        return {}
    gpu = gpus[slot % len(gpus)]
    return {"CUDA_VISIBLE_DEVICES": str(gpu), "SYNTHSET_GPU_LIMIT": f"gpu:{host}:{gpu}"}
