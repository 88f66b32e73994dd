"""Stages: how an artifact gets its key, is computed if the store lacks it, and is published.

A stage file declares settings, how inputs become jobs (``plan``), and how a batch of jobs becomes
outputs (the decorated function). This module does the rest. docs/artifacts.md has the contract.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prefect.context import FlowRunContext

from models.data.records import Artifact, Media, Record
from tasks.engine.gpu import gpu_lock
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.jobs import (
    Job,
    StageInput,
    StageOutput,
    checkpoints_of,
    default_key_params,
    one_job_per_input,
)
from tasks.engine.planning_run import Cost, PlanningRun
from tasks.engine.prefect_task import StageCall, run_as_task
from tasks.engine.publishing import describe_model, publish
from tasks.engine.run_context import RunContext, StageCount

log = logging.getLogger("synthset.stage")

P = TypeVar("P", bound=Record)
Compute = Callable[[Sequence[StageInput], P], Iterable[StageOutput]]
Plan = Callable[..., list[Job]]
# Threads that encode and write outputs while the next ones are computed.
PUBLISHERS = 4


def stage(
    name: str,
    *,
    version: int,
    media: Media = "png",
    plan: Plan = one_job_per_input,
    batch_size: int = 16,
    key_params: Callable[[Any], dict[str, Any]] = default_key_params,
    uses_gpu: bool = False,
    cost: Cost = Cost(),
    shown_as: str | None = None,
) -> Callable[[Compute[P]], "Stage[P]"]:
    """Declare a stage. Inside a flow, each call of it is a Prefect task run.

    Args:
        name: names the stage in keys, in the store and in the Prefect UI.
        version: raise it when the same input gives other bytes; all that depends on it is redone.
        plan: ``(settings, *inputs) -> jobs``.
        batch_size: jobs that the decorated function gets at a time.
        key_params: which settings belong into a key.
        uses_gpu: whether a batch holds the GPU lock even if its settings name no checkpoint.
        cost: what an artifact costs, for `synthset plan`.
        shown_as: explanation of its row in contact sheets; None: the stage has no row.
    """
    return lambda compute: Stage(
        name, version, media, plan, batch_size, key_params, uses_gpu, cost, shown_as, compute
    )


@dataclass(frozen=True)
class Stage(Generic[P]):
    """A declared stage; see `stage`."""

    name: str
    version: int
    media: Media
    plan: Plan
    batch_size: int
    key_params: Callable[[Any], dict[str, Any]]
    uses_gpu: bool
    cost: Cost
    shown_as: str | None
    compute: Compute[P]

    def __call__(
        self, run: RunContext | PlanningRun, parameters: P, *inputs: Any
    ) -> list[Artifact]:
        """Inside a flow the same as `run`, as a task run; in a planning run, placeholders."""
        if isinstance(run, PlanningRun):
            return self._plan_only(run, parameters, inputs)
        if FlowRunContext.get() is None:
            return self.run(run, parameters, *inputs)

        def work() -> tuple[list[Artifact], int, str]:
            before = run.counts.get(self.name, StageCount()).computed
            artifacts = self.run(run, parameters, *inputs)
            count = run.counts[self.name]
            computed = count.computed - before
            message = f"{computed} computed, {count.cached} cached, {count.rejected} rejected"
            return artifacts, computed, message

        return run_as_task(self.name, StageCall(f"{self.name} · {run.title}", work))

    def run(self, run: RunContext, parameters: P, *inputs: Any) -> list[Artifact]:
        """The accepted artifacts in the order of the plan; computes only what the store lacks.

        Raises:
            StoreError: the store refused or could not be reached.
            UnreadableArtifactError: an input is corrupt or gone; a rerun computes it.
        """
        jobs = self.plan(parameters, *inputs)
        keys = [self.key(job, parameters) for job in jobs]
        done = run.store.find(self.name, keys)
        missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in done}
        if missing:
            # The lease is of the whole plan: a worker that starts later lacks fewer artifacts.
            unit = hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()
            with run.store.lease(f"{self.name}/{unit}"):
                done |= run.store.find(self.name, list(missing))
                missing = {key: job for key, job in missing.items() if key not in done}
                read = (artifact for job in missing.values() for artifact in job.inputs)
                with verify_inputs_on_error(run.store, read):
                    done |= self._compute(run, parameters, missing)
        # An earlier run may have given other names to the same bytes.
        made = [
            done[key].model_copy(update=job.names(self.name))
            for key, job in zip(keys, jobs, strict=True)
        ]
        run.count(self.name, made)
        return [artifact for artifact in made if artifact.reject_reason is None]

    def key(self, job: Job, parameters: P) -> str:
        """The digest that names a job's work, and nothing about where or when it is done."""
        work = {
            "stage": self.name,
            "version": self.version,
            "parameters": self.key_params(parameters),
            "inputs": [artifact.digest for artifact in job.inputs],
            "variant": dict(job.variant),
        }
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()

    def _plan_only(
        self, run: PlanningRun, parameters: P, inputs: tuple[Any, ...]
    ) -> list[Artifact]:
        jobs = [(job, self.key(job, parameters)) for job in self.plan(parameters, *inputs)]
        placeholders = [
            Artifact(**self._identity(job, key), digest=key, size=0) for job, key in jobs
        ]
        network = getattr(parameters, "model", None) if checkpoints_of(parameters) else None
        return run.note(
            self.name, self.version, self.shown_as, self.cost, network, parameters, placeholders
        )

    def _identity(self, job: Job, key: str) -> dict[str, Any]:
        stage = {"stage": self.name, "version": self.version, "media": self.media}
        return {"key": key, **stage, **job.names(self.name)}

    def _compute(
        self, run: RunContext, parameters: P, missing: Mapping[str, Job]
    ) -> dict[str, Artifact]:
        inputs = [StageInput(job, key, run) for key, job in missing.items()]
        model = {"parameters": self.key_params(parameters), **describe_model(parameters)}
        published, started = list[Future[Artifact]](), time.perf_counter()
        run.on_batch(self.name, 0, len(inputs))
        with ThreadPoolExecutor(PUBLISHERS, thread_name_prefix="publish") as publishers:
            for first in range(0, len(inputs), self.batch_size):
                run.check_cancelled()
                batch = inputs[first : first + self.batch_size]
                # The lock is held before any code of the stage runs, whether it yields or returns.
                with gpu_lock(needed=self.uses_gpu or bool(checkpoints_of(parameters))):
                    outputs = self._timed(run, batch, parameters)
                    for item, (output, seconds) in zip(batch, outputs, strict=True):
                        made = {"seed": item.seed, "seconds": round(seconds, 4)}
                        record = self._identity(item.job, item.key) | model | made
                        record["batch_size"] = len(batch)
                        published.append(publishers.submit(publish, run, record, output))
                        # Memory stays flat while many outputs wait to be written.
                        if len(published) >= 2 * PUBLISHERS:
                            published[-2 * PUBLISHERS].result()
                run.on_batch(self.name, first + len(batch), len(inputs))
            artifacts = [future.result() for future in published]
        if artifacts:
            done = f"{len(artifacts)} computed in {time.perf_counter() - started:.1f} s"
            log.info("%s: %s (%s)", self.name, done, run.title)
        return {artifact.key: artifact for artifact in artifacts}

    def _timed(
        self, run: RunContext, batch: Sequence[StageInput], parameters: P
    ) -> Iterator[tuple[StageOutput, float]]:
        wall, cpu, decoded = time.perf_counter(), time.thread_time(), run.decoded_cpu_s
        for output in self.compute(batch, parameters):
            decode_s = run.decoded_cpu_s - decoded
            run.spend(self.name, "compute", time.thread_time() - cpu - decode_s)
            run.spend(self.name, "decode", decode_s)
            yield output, time.perf_counter() - wall
            wall, cpu, decoded = time.perf_counter(), time.thread_time(), run.decoded_cpu_s
