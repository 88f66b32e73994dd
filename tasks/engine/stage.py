"""Stages: how an artifact gets its key, is computed if the store lacks it, and is published.

A stage file declares settings, how inputs become jobs (``plan``), and how a batch of jobs becomes
outputs (the decorated function). This module does the rest. It computes the key of each job, asks
the store which artifacts exist, computes the others in batches, publishes each output when it is
made, and returns the records in the order of the plan. docs/artifacts.md has the contract.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from prefect.context import FlowRunContext

from models.checkpoints.local import licence_of
from models.data import pixels
from models.data.records import Artifact, Media, Record
from tasks.engine.gpu import gpu_lock
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.planning_run import Cost, PlanningRun
from tasks.engine.prefect_task import StageCall, run_as_task
from tasks.engine.run_context import RunContext, StageCount

log = logging.getLogger("synthset.stage")

P = TypeVar("P", bound=Record)
# Threads that encode and write outputs while the next ones are computed.
PUBLISHERS = 4
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Job:
    """One artifact to make: its inputs, and what tells it from its siblings (``{"view": 3}``).

    It inherits the name and the variant of its first input, unless it has a ``name`` of its own.
    """

    inputs: tuple[Artifact, ...]
    variant: Mapping[str, int | str] = field(default_factory=dict)
    name: str | None = None

    def label(self, stage: str) -> tuple[str, dict[str, int | str]]:
        """The name and the variant of the artifact."""
        if self.name is not None or not self.inputs:
            return self.name or stage, dict(self.variant)
        return self.inputs[0].name, {**self.inputs[0].variant, **self.variant}


@dataclass(frozen=True)
class StageOutput:
    """What a stage made of one job: content, or the reason why there is none.

    ``content`` is an array (png), bytes, the path of a file, or a mapping (json).
    """

    content: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    reject_reason: str | None = None


@dataclass(frozen=True)
class StageInput:
    """A job to compute: its key, the seed that derives from it, and the contents of its inputs."""

    job: Job
    key: str
    run: RunContext

    @property
    def seed(self) -> int:
        """63 bits of the key: the same work has the same seed on every machine."""
        return int(self.key[:16], 16) >> 1

    def rng(self) -> np.random.Generator:
        """A new generator, seeded by the key."""
        return np.random.default_rng(self.seed)

    def load(self, position: int = 0) -> Any:
        """The content of one input: an image array, or the mapping of a JSON artifact."""
        return self.run.load(self.job.inputs[position])


def default_key_params(parameters: Record) -> dict[str, Any]:
    """What of a stage's parameters is part of its keys: all but their `NON_KEY_FIELDS`."""
    return parameters.model_dump(mode="json", exclude=set(parameters.NON_KEY_FIELDS))


def checkpoints_of(parameters: Record) -> tuple[str, ...]:
    """The checkpoints that a stage loads with these settings, ``id@revision``; none for a
    classical model.
    """
    references: tuple[str, ...] = getattr(parameters, "checkpoints", ())
    return references


def loads_checkpoints(parameters: Record) -> bool:
    """Whether a stage loads networks with these settings, and so needs the GPU for itself."""
    return bool(checkpoints_of(parameters))


Compute = Callable[[Sequence[StageInput], P], Iterable[StageOutput]]
Plan = Callable[..., list[Job]]


def one_job_per_input(
    _parameters: Record, inputs: Sequence[Artifact], *others: Sequence[Artifact]
) -> list[Job]:
    """A job per input, with the artifact of the same name and variant from each other sequence.
    An input without such a partner has no job: the partner was rejected."""
    partners = [{pairing_key(artifact): artifact for artifact in sequence} for sequence in others]
    return [
        Job((first, *(sequence[pairing_key(first)] for sequence in partners)))
        for first in inputs
        if all(pairing_key(first) in sequence for sequence in partners)
    ]


def pairing_key(artifact: Artifact, *without: str) -> tuple[Any, ...]:
    """Name and variant of an artifact, less ``without``: equal for artifacts of the same image."""
    variant = {name: value for name, value in artifact.variant.items() if name not in without}
    return artifact.name, *sorted(variant.items())


def stage(
    name: str,
    *,
    version: int,
    media: Media = "png",
    plan: Plan = one_job_per_input,
    batch_size: int = 16,
    key_params: Callable[[Any], dict[str, Any]] = default_key_params,
    uses_gpu: bool | Callable[[Any], bool] = loads_checkpoints,
    cost: Cost = Cost(),
    shown_as: str | None = None,
) -> Callable[[Compute[P]], "Stage[P]"]:
    """Declare a stage. Inside a flow, each call of it is a Prefect task run.

    Args:
        name: names the stage in keys, in the store and in the Prefect UI.
        version: raise it when the same input gives other bytes; all that depends on it is redone.
        media: format of the artifacts.
        plan: ``(settings, *inputs) -> jobs``.
        batch_size: jobs that the decorated function gets at a time.
        key_params: which settings belong into a key.
        uses_gpu: whether a batch holds the GPU lock with these settings.
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
    uses_gpu: bool | Callable[[Any], bool]
    cost: Cost
    shown_as: str | None
    compute: Compute[P]

    def __call__(
        self, run: RunContext | PlanningRun, parameters: P, *inputs: Any
    ) -> list[Artifact]:
        """The accepted artifacts, as `run` gives them: inside a flow from a task run, in a
        planning run as placeholders."""
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
            Corrupt, Missing: an input's bytes are damaged or gone. The store has removed its
                record, so that the stage that makes it computes it again.
        """
        jobs = self.plan(parameters, *inputs)
        keys = [self.key(job, parameters) for job in jobs]
        done = run.store.find(self.name, keys)
        missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in done}
        if missing:
            unit = hashlib.sha256("".join(sorted(missing)).encode()).hexdigest()
            with run.store.lease(f"{self.name}/{unit}"):
                done |= run.store.find(self.name, list(missing))
                missing = {key: job for key, job in missing.items() if key not in done}
                with verify_inputs_on_error(
                    run.store, (artifact for job in missing.values() for artifact in job.inputs)
                ):
                    done |= self._compute(run, parameters, missing)
        made = [_rename(done[key], job) for key, job in zip(keys, jobs, strict=True)]
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

    def _needs_gpu(self, parameters: P) -> bool:
        return self.uses_gpu if isinstance(self.uses_gpu, bool) else self.uses_gpu(parameters)

    def _plan_only(
        self, run: PlanningRun, parameters: P, inputs: tuple[Any, ...]
    ) -> list[Artifact]:
        placeholders = []
        for job in self.plan(parameters, *inputs):
            key = self.key(job, parameters)
            name, variant = job.label(self.name)
            placeholders.append(
                Artifact(
                    key=key,
                    stage=self.name,
                    version=self.version,
                    name=name,
                    variant=variant,
                    media=self.media,
                    digest=key,
                    size=0,
                    parents=tuple(artifact.id for artifact in job.inputs),
                )
            )
        network = getattr(parameters, "model", None) if checkpoints_of(parameters) else None
        return run.note(
            self.name, self.version, self.shown_as, self.cost, network, parameters, placeholders
        )

    def _compute(
        self, run: RunContext, parameters: P, missing: Mapping[str, Job]
    ) -> dict[str, Artifact]:
        inputs = [StageInput(job, key, run) for key, job in missing.items()]
        published: list[Future[Artifact]] = []
        started = time.perf_counter()
        with ThreadPoolExecutor(PUBLISHERS, thread_name_prefix="publish") as publishers:
            for first in range(0, len(inputs), self.batch_size):
                run.check_cancelled()
                batch = inputs[first : first + self.batch_size]
                # The lock is held before any code of the stage runs, whether it yields or returns.
                with gpu_lock(needed=self._needs_gpu(parameters)):
                    outputs = self._timed(run, batch, parameters)
                    for item, (output, seconds) in zip(batch, outputs, strict=True):
                        draft = self._draft(item, parameters, output, seconds, len(batch))
                        published.append(publishers.submit(_publish, run, draft, output))
                        _wait_for_oldest(published, at_most=2 * PUBLISHERS)
                run.on_batch(self.name, first + len(batch), len(inputs))
            artifacts = [future.result() for future in published]
        if artifacts:
            seconds = time.perf_counter() - started
            log.info(
                "%s: %d computed in %.1f s (%s)", self.name, len(artifacts), seconds, run.title
            )
        return {artifact.key: artifact for artifact in artifacts}

    def _timed(
        self, run: RunContext, batch: Sequence[StageInput], parameters: P
    ) -> Iterator[tuple[StageOutput, float]]:
        outputs: Iterator[StageOutput] | None = None
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            decoded = run.decoded_cpu_s
            if outputs is None:
                outputs = iter(self.compute(batch, parameters))
            output = next(outputs, None)
            if output is None:
                return
            decoded = run.decoded_cpu_s - decoded
            run.spend(self.name, "compute", time.thread_time() - cpu - decoded)
            run.spend(self.name, "decode", decoded)
            yield output, time.perf_counter() - wall

    def _draft(
        self, item: StageInput, parameters: P, output: StageOutput, seconds: float, batch_size: int
    ) -> Artifact:
        name, variant = item.job.label(self.name)
        content = output.content
        return Artifact(
            key=item.key,
            stage=self.name,
            version=self.version,
            name=name,
            variant=variant,
            media=self.media,
            digest=EMPTY_DIGEST,
            size=0,
            parents=tuple(artifact.id for artifact in item.job.inputs),
            parameters=self.key_params(parameters),
            model=getattr(parameters, "model", None),
            revision=" + ".join(checkpoints_of(parameters)) or None,
            licence=_licence(parameters),
            seed=item.seed,
            prompt=output.prompt,
            batch_size=batch_size,
            dtype=str(content.dtype) if isinstance(content, np.ndarray) else "json",
            shape=content.shape if isinstance(content, np.ndarray) else None,
            seconds=round(seconds, 4),
            metadata=dict(output.metadata),
            reject_reason=output.reject_reason,
        )


def _publish(run: RunContext, draft: Artifact, output: StageOutput) -> Artifact:
    if output.reject_reason is not None:
        run.store.put(draft, b"")
        run.published(draft)
        return draft
    cpu = time.thread_time()
    blob = _encode(draft.media, output.content)
    artifact = draft.model_copy(
        update={"digest": hashlib.sha256(blob).hexdigest(), "size": len(blob)}
    )
    run.spend(draft.stage, "encode", time.thread_time() - cpu)
    cpu = time.thread_time()
    run.store.put(artifact, blob)
    run.published(artifact)
    run.spend(draft.stage, "store", time.thread_time() - cpu)
    run.remember(artifact, output.content)
    return artifact


def _licence(parameters: Record) -> str | None:
    """The terms of the weights that were used; without weights, those of synthset itself."""
    if not hasattr(parameters, "model"):
        return None
    licences = [licence_of(reference) for reference in checkpoints_of(parameters)]
    return " + ".join(dict.fromkeys(licences)) or "Apache-2.0"


def _encode(media: Media, content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, Path):
        return content.read_bytes()
    if media == "png":
        return pixels.encode_png(content)
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()


def _wait_for_oldest(published: list[Future[Artifact]], at_most: int) -> None:
    """Pause the computation while many outputs wait to be written, so that memory stays flat."""
    if len(published) >= at_most:
        published[-at_most].result()


def _rename(artifact: Artifact, job: Job) -> Artifact:
    """The record under this run's names: an earlier run may have named the same bytes otherwise."""
    name, variant = job.label(artifact.stage)
    parents = tuple(parent.id for parent in job.inputs)
    return artifact.model_copy(update={"name": name, "variant": variant, "parents": parents})
