"""The two sides of the simulated fan-out, each a process of its own: the parent run, which is the
product's, and a worker that ends the children without doing any of their stages.
"""

import hashlib
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Pending, Running

import flows.execution.run_items
import flows.items
from benchmarks.machine import high_water_mb, tree_cpu_s
from flows.build_datasets import Datasets
from flows.config.recipe import Recipe
from flows.execution.deployment import ChildRunPool
from flows.execution.run_items import Execution
from flows.finish import Finish
from flows.generate import Generation, generate
from flows.generators.catalog import find_generator
from flows.items import make_items
from flows.measure_quality import MeasuredQuality
from flows.pipeline import pin_results
from flows.summary import summarize
from flows.train_models import Trained
from models.data.near_duplicates import HASH_BITS, HashedPhoto
from models.data.records import (
    Annotation,
    Artifact,
    Lineage,
    Media,
    Origin,
    Sample,
    SourceImage,
    Sources,
    Split,
)
from models.data.splitting import SplitParameters, split
from models.screening.heldout import HeldOutHashes
from tasks.assemble.choose import Assemble, choose
from tasks.assemble.dataset import Dataset, dataset
from tasks.assemble.manifest import write_manifest
from tasks.engine.item_documents import load_item, load_samples, save_result
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import load_part, save_part
from tasks.engine.work_items import (
    GenerationRecord,
    ItemConfig,
    Result,
    SharedInputs,
    WorkItem,
    result_of,
)
from tasks.screen.screen import Screen, judge
from tasks.store.store import Store, open_store

POOL = "simulated"
DEPLOYMENT = f"generate_item/{POOL}"
GENERATOR = "multiview"
AT_ONCE = 32
CLASSES = 3
SAMPLES = 4
HANDS = 4
POLL_S = 1.0
STAGES = 14
TENTHS = 10
BLOB = b"nothing was computed"


def artifact_of(stage: str, name: str, media: Media, text: str = "") -> Artifact:
    """An artifact with the bytes `BLOB`, which is what a no-op stage makes."""
    key = hashlib.sha256(f"{stage} {name} {text}".encode()).hexdigest()
    digest = hashlib.sha256(BLOB).hexdigest()
    return Artifact(
        key=key,
        stage=stage,
        version=1,
        name=name,
        media=media,
        digest=digest,
        size=len(BLOB),
    )


SHARED = SharedInputs(heldout=(artifact_of("heldout", "heldout", "json"),))


@dataclass
class Spent:
    """What a step took: seconds of the clock and of the processors, and how often it was taken."""

    calls: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass
class Tenth:
    """One tenth of the children: seconds of the clock, and CPU seconds by process."""

    wall_s: float
    cpu_s: dict[str, float]


@dataclass
class Found:
    """What a parent run measured: its steps, the tenths of its fan-out, its memory in MiB."""

    steps: dict[str, Spent] = field(default_factory=lambda: defaultdict(Spent))
    again: dict[str, Spent] = field(default_factory=lambda: defaultdict(Spent))
    tenths: list[Tenth] = field(default_factory=list)
    peak_mb: dict[str, float] = field(default_factory=dict)


def parent(folder: Path, references: int, watched: dict[str, int], done: int = 0) -> None:
    """Fan out, and take every later step of the parent run that grows with the references.

    Args:
        folder: where the store is; ``found.json`` is left there.
        references: how many.
        watched: process ids by name, whose CPU seconds are noted at every tenth of the way.
        done: how many of them are done already, the first ones.
    """
    recipe, found = Recipe(), Found()
    store = open_store(folder / "store")
    photos = draw_references(references)

    @flow(name="fan_out_benchmark", validate_parameters=False)
    def run() -> None:
        found.peak_mb["start"] = _peak_mb()
        context = RunContext(store, "benchmark")
        tenth = _tenths(references - done, watched, found)
        with clocked(found.steps), _after_each(tenth), timed(found.steps, "fan out, all of it"):
            results = _fan_out(context, recipe, photos)
        found.peak_mb["fan_out"] = _peak_mb()
        _go_on(context, folder, recipe, photos, results, found.steps)
        found.peak_mb["end"] = _peak_mb()
        with clocked(found.again), timed(found.again, "fan out, all of it"):
            again = _fan_out(RunContext(store, "benchmark"), recipe, photos)
        if not all(result.cached for result in again):
            raise RuntimeError("a reference that was done was expanded again")

    run()
    (folder / "found.json").write_text(json.dumps(found, default=vars))


def _fan_out(context: RunContext, recipe: Recipe, photos: Sequence[SourceImage]) -> list[Result]:
    execution = Execution(max_parallel=AT_ONCE, generate_on=DEPLOYMENT)
    settings = recipe.generators[GENERATOR]
    return generate(context, GENERATOR, settings, photos, SHARED, _finish(recipe), execution)


def _finish(recipe: Recipe) -> Finish:
    return Finish(screen=recipe.screen, resize=recipe.resize)


def _items(recipe: Recipe, photos: Sequence[SourceImage]) -> list[WorkItem]:
    """The work items that `generate` makes of photos."""
    generator, settings = find_generator(GENERATOR), recipe.generators[GENERATOR]
    config = ItemConfig(
        settings=settings.model_dump(mode="json"),
        finish=_finish(recipe).model_dump(mode="json"),
        shared=SHARED,
    )
    return make_items(generator, generator.phases[0], settings, photos, {}, config)


def finish(folder: Path, first: int, end: int) -> None:
    """Leave in the store what the worker would for the references from ``first`` to ``end``."""
    recipe, store = Recipe(), open_store(folder / "store")
    for item in _items(recipe, draw_references(end)[first:]):
        _expand(store, item, run="simulated")


def worker(folder: Path) -> None:
    """Take what is scheduled, and end it as a child run with no-op stages would, for ever."""
    store = open_store(folder / "store")
    taken: set[UUID] = set()
    waiting: SimpleQueue[FlowRun] = SimpleQueue()

    def hand() -> None:
        with get_client(sync_client=True) as client:
            while True:
                _carry_out(client, store, waiting.get())

    for _ in range(HANDS):
        threading.Thread(target=hand, daemon=True).start()
    with get_client(sync_client=True) as client:
        while True:
            soon = datetime.now(UTC) + timedelta(seconds=10)
            for one in client.get_scheduled_flow_runs_for_work_pool(POOL, scheduled_before=soon):
                if one.flow_run.id not in taken:
                    taken.add(one.flow_run.id)
                    waiting.put(one.flow_run)
            time.sleep(POLL_S)


def draw_references(count: int) -> list[SourceImage]:
    """References of photos that are nowhere, in `CLASSES` classes."""
    return [_reference(at, "train") for at in range(count)]


@contextmanager
def timed(steps: dict[str, Spent], step: str) -> Iterator[None]:
    """Add what goes on in the context to the account of a step."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        spent = steps[step]
        spent.calls += 1
        spent.wall_s += time.perf_counter() - wall
        spent.cpu_s += time.process_time() - cpu


@contextmanager
def clocked(steps: dict[str, Spent]) -> Iterator[None]:
    """Time the steps of the product's fan-out."""
    with ExitStack() as stack:
        for owner, name, step in (
            (flows.items, "item_key", "keys"),
            (flows.execution.run_items, "save_items", "place orders"),
            (ChildRunPool, "start", "start children"),
            (ChildRunPool, "_read_runs", "poll"),
            (ChildRunPool, "_result", "collect outcomes"),
            (flows.execution.run_items, "load_result", "read results"),
        ):
            stack.enter_context(_replaced(owner, name, _timing(steps, step)))
        looks = _timing_each(steps, "look what is done")
        stack.enter_context(_replaced(flows.execution.run_items, "load_records", looks))
        yield


def _timing(
    steps: dict[str, Spent], step: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*given: Any, **named: Any) -> Any:
            with timed(steps, step):
                return original(*given, **named)

        return wrapper

    return around


def _timing_each(
    steps: dict[str, Spent], step: str
) -> Callable[[Callable[..., Iterator[Any]]], Callable[..., Iterator[Any]]]:
    def around(original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def wrapper(*given: Any) -> Iterator[Any]:
            items = original(*given)
            for _ in given[-1]:
                with timed(steps, step):
                    item = next(items)
                yield item

        return wrapper

    return around


@contextmanager
def _replaced(
    owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, around(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def _after_each(tenth: Callable[[], None]) -> Iterator[None]:
    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*given: Any, **named: Any) -> Any:
            outcome = original(*given, **named)
            tenth()
            return outcome

        return wrapper

    with _replaced(ChildRunPool, "_result", around):
        yield


def _tenths(references: int, watched: dict[str, int], found: Found) -> Callable[[], None]:
    ends = [references * tenth // TENTHS for tenth in range(1, TENTHS + 1)]
    done = 0

    def now() -> tuple[float, dict[str, float]]:
        cpu_s = {name: tree_cpu_s(pid) for name, pid in watched.items()}
        return time.monotonic(), {**cpu_s, "parent": time.process_time()}

    last = now()

    def tenth() -> None:
        nonlocal done, last
        done += 1
        if done in ends:
            wall, cpu_s = now()
            spent = {name: cpu_s[name] - last[1][name] for name in cpu_s}
            found.tenths.append(Tenth(wall - last[0], spent))
            last = wall, cpu_s

    return tenth


def _go_on(
    context: RunContext,
    folder: Path,
    recipe: Recipe,
    photos: Sequence[SourceImage],
    results: Sequence[Result],
    steps: dict[str, Spent],
) -> None:
    """What the pipeline does with results, step by step, without pixels."""
    store, run, started = context.store, "benchmark", time.monotonic()
    with timed(steps, "outcomes to the store and back"):
        save_part(store, run, Generation(results={GENERATOR: tuple(results)}))
        generation = load_part(store, run, Generation)
    _screen(photos, steps)
    with timed(steps, "samples"):
        synthetic = [
            sample for result in generation.all for sample in load_samples(store, result.key)
        ]
    held_out = [_reference(at, "val") for at in range(len(photos) // 10)]
    sources = Sources(images=(*photos, *held_out))
    real = [_photo_sample(photo) for photo in sources.images]
    train, names = real[: len(photos)], [photo.name for photo in photos]
    with timed(steps, "choose"):
        chosen = choose(recipe.dataset_specs, train, {GENERATOR: synthetic}, names, Assemble())
    with timed(steps, "manifest"):
        write_manifest(folder / "manifest.parquet", [*real, *synthetic], [], chosen)
    with timed(steps, "dataset documents"):
        documents = {
            name: dataset(context, Dataset(), name, samples, [])[0]
            for name, samples in chosen.items()
        }
    datasets = Datasets(
        documents=documents,
        test=documents["real"],
        volumes={name: {"train": {}, "synthetic": {}, "val": {}} for name in chosen},
        origins={name: Origin() for name in chosen},
        families={},
        test_volume={},
        rejects={},
        written=0,
        counts={},
    )
    trained = Trained(checkpoints=(), scores=(), counts={})
    with timed(steps, "what the report is told"):
        summarize(recipe, sources, generation, datasets, trained, context, [], started)
    with timed(steps, "keep"):
        quality = MeasuredQuality()
        pin_results(context, run, sources, generation, datasets, quality, trained)


def _screen(photos: Sequence[SourceImage], steps: dict[str, Spent]) -> None:
    """What is done with hashes: photos are split, and images compared with those held out.

    As many photos are held out as a split holds out. In a real run the workers screen the images,
    each those of its own reference; here one process screens `SAMPLES` images of each reference.
    """
    hashed = [_hashed(photo) for photo in photos]
    with timed(steps, "split photos"):
        result = split(hashed, SplitParameters())
    held_out = [
        {"name": one.file, "hashes": [f"{one.dhash:064x}", f"{one.dhash_mirrored:064x}"]}
        for one in hashed
        if result.assigned[one.file] != "train"
    ]
    scores = {"contrast": 0.5, "sharpness": 20.0, "object_fraction": 0.3, "cut_fraction": 0.0}
    with timed(steps, "screen (in workers)"):
        index = HeldOutHashes(held_out, Screen().heldout_bits)
        for photo in photos:
            codes = [
                artifact_of("resize", f"{photo.name}_{at}", "jpg").key for at in range(SAMPLES)
            ]
            rows = [{**scores, "digest": code, "dhash": code} for code in codes]
            judge(rows, index, Screen())


def _hashed(photo: SourceImage) -> HashedPhoto:
    code, key = int(photo.image.digest, 16), photo.image.key
    mirrored = code ^ (2**HASH_BITS - 1)
    return HashedPhoto(photo.file, "all", None, key, code, mirrored)


def _carry_out(client: SyncPrefectClient, store: Store, run: FlowRun) -> None:
    begin: tuple[State[Any], ...] = (Pending(), Running())
    for state in begin:
        client.set_flow_run_state(run.id, state, force=True)
    item, _ = load_item(store, str(run.parameters["key"]))
    _expand(store, item, str(run.id))
    client.set_flow_run_state(run.id, Completed(), force=True)


def _expand(store: Store, item: WorkItem, run: str) -> None:
    (source,) = item.sources
    samples = tuple(_sample(source, at) for at in range(SAMPLES))
    artifacts = [
        artifact
        for sample in samples
        for artifact in (sample.image, sample.annotations[0].mask)
        if artifact
    ]
    for artifact in artifacts:
        store.put(artifact, BLOB)
    record = GenerationRecord(samples=samples, artifacts=tuple(artifacts))
    account = {
        "counts": {f"stage_{at}": StageCount(computed=SAMPLES) for at in range(STAGES)},
        "cpu_s": {f"stage_{at}": 0.1 for at in range(STAGES)},
        "run": run,
    }
    save_result(store, result_of(item, record).model_copy(update=account), record)


def _peak_mb() -> float:
    return high_water_mb(os.getpid()) or 0.0


def _reference(at: int, split: Split) -> SourceImage:
    label = f"class_{at % CLASSES}"
    name = f"{label}/{split}_{at:05d}"
    image = artifact_of("ingest", name, "png")
    return SourceImage(
        name=name,
        file=f"{name}.jpg",
        split=split,
        image=image.model_copy(update={"digest": image.key}),
        annotations=(Annotation(label=label),),
    )


def _photo_sample(photo: SourceImage) -> Sample:
    return Sample(
        name=photo.name,
        split=photo.split,
        image=photo.image,
        annotations=photo.annotations,
        sources=(photo.name,),
        lineage=Lineage(stages=("ingest", "resize")),
    )


def _sample(source: SourceImage, at: int) -> Sample:
    name = f"{source.name}_view0_copy{at}"
    mask = artifact_of("annotate", name, "png")
    stages = ("ingest", "upscale", "multiview", "augment", "outpaint", "resize")
    return Sample(
        name=name,
        split="train",
        image=artifact_of("resize", name, "jpg"),
        annotations=(Annotation(label=source.label, box=(10, 10, 80, 80), mask=mask),),
        generator=GENERATOR,
        sources=(source.name,),
        lineage=Lineage(stages=stages, seed=at),
        scores={"contrast": 0.5, "sharpness": 20.0, "object_fraction": 0.3, "cut_fraction": 0.0},
    )


if __name__ == "__main__":
    side, work = sys.argv[1], Path(sys.argv[2])
    if side == "worker":
        worker(work)
    elif side == "finish":
        finish(work, int(sys.argv[3]), int(sys.argv[4]))
    else:
        parent(work, int(sys.argv[3]), json.loads(sys.argv[4]), int(sys.argv[5]))
