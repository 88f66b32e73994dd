"""The one mechanism under every stage: key, lease, batch, publish, count, and the Prefect task.

A stage file declares its parameters, how inputs become jobs (``plan``) and how a batch of jobs
becomes products (the decorated function). Everything else happens here: the key of each job is
computed, the store is asked which are done, only the others are computed, each product is published
as it is made, and the records come back in the order of the plan. See docs/artifacts.md for the
contract.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, get_args

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed
from pydantic.fields import FieldInfo

from models.checkpoints.local import licence_of
from models.data import pixels
from models.data.records import Artifact, Media, NamesCheckpoint, Of, Record
from tasks.engine.gpu import gpu_lock
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.run_context import RunContext
from tasks.store.errors import StoreUnavailableError

log = logging.getLogger("synthset.stage")

P = TypeVar("P", bound=Record)
PUBLISHERS = 4
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Job:
    """One artifact to make: its inputs, and what tells it from its siblings (``{"view": 3}``).

    It inherits the name and the index of its first input, unless it has a ``name`` of its own.
    """

    inputs: tuple[Artifact, ...]
    variant: Mapping[str, int | str] = field(default_factory=dict)
    name: str | None = None

    def label(self, stage: str) -> tuple[str, dict[str, int | str]]:
        """The name and the index of what it makes."""
        if self.name is not None or not self.inputs:
            return self.name or stage, dict(self.variant)
        return self.inputs[0].name, {**self.inputs[0].variant, **self.variant}


@dataclass(frozen=True)
class StageOutput:
    """What a stage made of one job: an array, bytes or a JSON-able mapping, or why it has none."""

    content: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    reject_reason: str | None = None


@dataclass(frozen=True)
class StageInput:
    """A job at work: its key, the seed that derives from it, and its inputs' contents."""

    job: Job
    key: str
    run: RunContext

    @property
    def seed(self) -> int:
        """63 bits of the key: the same work has the same seed on every machine."""
        return int(self.key[:16], 16) >> 1

    def rng(self) -> np.random.Generator:
        """A fresh generator seeded by the key."""
        return np.random.default_rng(self.seed)

    def load(self, position: int = 0) -> Any:
        """The content of one input: an image array, or the mapping of a JSON artifact."""
        return self.run.load(self.job.inputs[position])


def settings(parameters: Record, without: Sequence[str] = ()) -> dict[str, Any]:
    """What of a stage's parameters goes into its keys, unless the stage says otherwise: all but
    those that are `Of` other models than the one in use, and checkpoints that are not loaded.
    """
    fields = type(parameters).model_fields
    idle = {name for name, field in fields.items() if _is_idle(field, parameters, name)}
    return parameters.model_dump(mode="json", exclude=idle | set(without))


def _is_idle(field: FieldInfo, parameters: Record, name: str) -> bool:
    marks = [
        *field.metadata,
        *(one for kind in get_args(field.annotation) for one in get_args(kind)),
    ]
    used = getattr(parameters, "model", None)
    if any(isinstance(mark, Of) and used not in mark.models for mark in marks):
        return True
    names_checkpoint = any(isinstance(mark, NamesCheckpoint) for mark in marks)
    return names_checkpoint and getattr(parameters, name) not in checkpoints_of(parameters)


def params_per_item(parameters: Record) -> dict[str, Any]:
    """`settings` without how many images are made of an input: their index tells them apart, and
    more of them redo none."""
    return settings(parameters, without=("copies", "views"))


def checkpoints_of(parameters: Record) -> tuple[str, ...]:
    """The checkpoints that a stage loads with these parameters, ``id@revision``; none for a
    classical model.
    """
    references: tuple[str, ...] = getattr(parameters, "checkpoints", ())
    return references


def loads_checkpoints(parameters: Record) -> bool:
    """Whether a stage needs the GPU to itself with these parameters: where it loads networks."""
    return bool(checkpoints_of(parameters))


def always(_parameters: Record) -> bool:
    """For a stage that takes the GPU whatever its parameters."""
    return True


Compute = Callable[[Sequence[StageInput], P], Iterator[StageOutput]]
Plan = Callable[..., list[Job]]


def one_job_per_input(
    _parameters: Record, inputs: Sequence[Artifact], *beside: Sequence[Artifact]
) -> list[Job]:
    """The usual plan: a job per input, with its partner of the same name and index from each
    sequence beside it. An input whose partner was rejected has no job."""
    partners = [{pairing_key(artifact): artifact for artifact in others} for others in beside]
    return [
        Job((first, *(others[pairing_key(first)] for others in partners)))
        for first in inputs
        if all(pairing_key(first) in others for others in partners)
    ]


def pairing_key(artifact: Artifact, *without: str) -> tuple[Any, ...]:
    """What an artifact is of, to pair it with its partners: name and index, less ``without``."""
    variant = {at: value for at, value in artifact.variant.items() if at not in without}
    return artifact.name, *sorted(variant.items())


def stage(
    name: str,
    *,
    version: int,
    media: Media = "png",
    plan: Plan = one_job_per_input,
    batch_size: int = 16,
    key_params: Callable[[Any], dict[str, Any]] = settings,
    uses_gpu: Callable[[Any], bool] = loads_checkpoints,
) -> Callable[[Compute[P]], "Stage[P]"]:
    """Declare a stage. Raise ``version`` when its output changes: what hangs on it is redone.

    A batch of a ``heavy`` stage holds the worker's GPU, so that no two use it at a time.
    """
    return lambda compute: Stage(
        name, version, media, plan, batch_size, key_params, uses_gpu, compute
    )


@dataclass(frozen=True)
class Stage(Generic[P]):
    """A declared stage. Call it: in a flow that is a Prefect task run, outside one it just runs."""

    name: str
    version: int
    media: Media
    plan: Plan
    batch_size: int
    key_params: Callable[[Any], dict[str, Any]]
    uses_gpu: Callable[[Any], bool]
    compute: Compute[P]

    def __call__(self, run: RunContext, parameters: P, *inputs: Any) -> list[Artifact]:
        """The accepted artifacts, as `run` gives them; inside a flow, from a task run of it."""
        if FlowRunContext.get() is None:
            return self.run(run, parameters, *inputs)
        return _as_task(_Order(self, run, parameters, inputs))

    def run(self, run: RunContext, parameters: P, *inputs: Any) -> list[Artifact]:
        """The accepted artifacts, in the order of the plan, computing only what the store lacks.

        Raises:
            StoreError: the store refused or stayed away.
            UnreadableArtifactError: an input's bytes are missing or corrupt; its record is deleted,
                so running the stage that makes it repairs it.
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
                    run.store, (one for job in missing.values() for one in job.inputs)
                ):
                    done |= self._compute(run, parameters, missing)
        made = [_label(done[key], job) for key, job in zip(keys, jobs, strict=True)]
        run.count(self.name, made)
        return [artifact for artifact in made if artifact.reject_reason is None]

    def key(self, job: Job, parameters: P) -> str:
        """The digest that names a job's work, and nothing about where or when it is done."""
        work = {
            "stage": self.name,
            "version": self.version,
            "parameters": self.key_params(parameters),
            "inputs": [artifact.digest for artifact in job.inputs],
            "index": dict(job.variant),
        }
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()

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
                with gpu_lock(needed=self.uses_gpu(parameters)):
                    products = self._timed(run, iter(self.compute(batch, parameters)))
                    for item, (product, seconds) in zip(batch, products, strict=True):
                        draft = self._draft(item, parameters, product, seconds, len(batch))
                        published.append(publishers.submit(_publish, run, draft, product))
                        _wait_for_the_oldest(published, at_most=2 * PUBLISHERS)
                run.progress(self.name, first + len(batch), len(inputs))
            artifacts = [future.result() for future in published]
        if artifacts:
            seconds = time.perf_counter() - started
            log.info(
                "%s: %d computed in %.1f s (%s)", self.name, len(artifacts), seconds, run.title
            )
        return {artifact.key: artifact for artifact in artifacts}

    def _timed(
        self, run: RunContext, products: Iterator[StageOutput]
    ) -> Iterator[tuple[StageOutput, float]]:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            decoding = run.decoded_cpu_s
            product = next(products, None)
            if product is None:
                return
            decoding = run.decoded_cpu_s - decoding
            run.spend(self.name, "compute", time.thread_time() - cpu - decoding)
            run.spend(self.name, "decode", decoding)
            yield product, time.perf_counter() - wall

    def _draft(
        self, item: StageInput, parameters: P, product: StageOutput, seconds: float, batch_size: int
    ) -> Artifact:
        name, variant = item.job.label(self.name)
        content = product.content
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
            prompt=product.prompt,
            batch_size=batch_size,
            dtype=str(content.dtype) if isinstance(content, np.ndarray) else "json",
            seconds=round(seconds, 4),
            metadata=dict(product.metadata),
            reject_reason=product.reject_reason,
        )


@dataclass(frozen=True, repr=False)
class _Order:
    """A stage with its inputs, opaque to Prefect so that it walks no list of artifacts."""

    stage: Stage[Any]
    run: RunContext
    parameters: Record
    inputs: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.stage.name} · {self.run.title}"


def _outage(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Only an outage of the store is worth trying again: the same work fails the same way."""
    return isinstance(state.result(raise_on_failure=False), StoreUnavailableError)


def _as_task(order: _Order) -> list[Artifact]:
    @task(
        name=order.stage.name,
        task_run_name=str(order).replace("{", "(").replace("}", ")"),
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=3,
        retry_delay_seconds=[5, 20, 60],
        retry_condition_fn=_outage,
    )
    def work() -> Any:
        computed = order.run.computed(order.stage.name)
        artifacts = order.stage.run(order.run, order.parameters, *order.inputs)
        made = order.run.computed(order.stage.name) - computed
        if not made:
            return Completed(name="Cached", message=f"{len(artifacts)} cached", data=artifacts)
        count = order.run.counts[order.stage.name]
        told = f"{made} computed, {count.cached} cached, {count.rejected} rejected"
        return Completed(message=told, data=artifacts)

    made: Any = work()
    artifacts: list[Artifact] = made.result() if isinstance(made, State) else made
    return artifacts


def _publish(run: RunContext, draft: Artifact, product: StageOutput) -> Artifact:
    if product.reject_reason is not None:
        run.store.put(draft, b"")
        run.published(draft)
        return draft
    cpu = time.thread_time()
    blob = _encode(draft.media, product.content)
    artifact = draft.model_copy(
        update={"digest": hashlib.sha256(blob).hexdigest(), "size": len(blob)}
    )
    run.spend(draft.stage, "encode", time.thread_time() - cpu)
    cpu = time.thread_time()
    run.store.put(artifact, blob)
    run.published(artifact)
    run.spend(draft.stage, "store", time.thread_time() - cpu)
    run.remember(artifact, product.content)
    return artifact


def _licence(parameters: Record) -> str | None:
    """The terms of the weights that were used; without weights, those of synthset itself."""
    if not hasattr(parameters, "model"):
        return None
    references = checkpoints_of(parameters)
    return " + ".join(dict.fromkeys(licence_of(one) for one in references)) or "Apache-2.0"


def _encode(media: Media, content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if media == "png":
        return pixels.encode_png(content)
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()


def _wait_for_the_oldest(published: list[Future[Artifact]], at_most: int) -> None:
    """Hold the computation while many products wait to be written: memory stays flat."""
    if len(published) >= at_most:
        published[-at_most].result()


def _label(artifact: Artifact, job: Job) -> Artifact:
    """The record under this run's names: an earlier run may have called the bytes otherwise."""
    name, variant = job.label(artifact.stage)
    parents = tuple(parent.id for parent in job.inputs)
    return artifact.model_copy(update={"name": name, "variant": variant, "parents": parents})
