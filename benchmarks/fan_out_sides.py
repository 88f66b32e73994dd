"""The two processes of the simulated fan-out: the product's parent run, and a simulated worker.

The worker saves results and completes child runs, but runs no stages.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Pending, Running

from benchmarks.artifacts import BLOB, artifact_of
from benchmarks.fan_out_samples import (
    GENERATOR,
    SAMPLES,
    SCORES,
    draw_references,
    make_hashed,
    make_photo,
    make_photo_sample,
    make_sample,
)
from benchmarks.fan_out_timing import (
    FAN_OUT,
    ParentCosts,
    StepCost,
    after_each_result,
    make_tenth_recorder,
    timed,
    timed_steps,
)
from benchmarks.machine import high_water_mb
from flows.build_datasets import Datasets
from flows.config.recipe import Recipe
from flows.execution.run_items import Execution
from flows.finish import Finish
from flows.generate import Generation, generate
from flows.generators.catalog import find_generator
from flows.items import make_items
from flows.measure_quality import MeasuredQuality
from flows.pipeline import pin_results
from flows.summary import summarize
from flows.train_models import Trained
from models.data.records import SourceImage, Sources
from models.data.specs import Origin
from models.data.splits.splitting import SplitParameters, split
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
MAX_PARALLEL = 32
THREADS = 4
POLL_S = 1.0
STAGES = 14
SHARED = SharedInputs(heldout=(artifact_of("heldout", "heldout", "json"),))


def parent(folder: Path, references: int, process_ids: dict[str, int], done: int = 0) -> None:
    """Fan out, then run every later step of the parent run whose cost grows with the references.

    Args:
        folder: holds the store; the costs are written to ``parent.json`` there.
        references: their number.
        process_ids: ids by name of the other processes whose CPU seconds are measured.
        done: the number of first references that are done already.
    """
    recipe, costs = Recipe(), ParentCosts()
    store = open_store(folder / "store")
    photos = draw_references(references)

    @flow(name="fan_out_benchmark", validate_parameters=False)
    def run() -> None:
        costs.peak_mb["start"] = _peak_mb()
        context = RunContext(store, "benchmark")
        record = make_tenth_recorder(references - done, process_ids, costs)
        with timed_steps(costs.steps), after_each_result(record), timed(costs.steps, FAN_OUT):
            results = _fan_out(context, recipe, photos)
        costs.peak_mb["fan-out"] = _peak_mb()
        _run_later_steps(context, folder, recipe, photos, results, costs.steps)
        costs.peak_mb["end"] = _peak_mb()
        with timed_steps(costs.again), timed(costs.again, FAN_OUT):
            again = _fan_out(RunContext(store, "benchmark"), recipe, photos)
        if not all(result.cached for result in again):
            raise RuntimeError("the second fan-out computed a reference that was done")

    run()
    (folder / "parent.json").write_text(json.dumps(costs, default=vars))


def _fan_out(context: RunContext, recipe: Recipe, photos: Sequence[SourceImage]) -> list[Result]:
    execution = Execution(max_parallel=MAX_PARALLEL, generate_on=DEPLOYMENT)
    settings = recipe.generators[GENERATOR]
    return generate(context, GENERATOR, settings, photos, SHARED, _make_finish(recipe), execution)


def _make_finish(recipe: Recipe) -> Finish:
    return Finish(screen=recipe.screen, resize=recipe.resize)


def _make_items(recipe: Recipe, photos: Sequence[SourceImage]) -> list[WorkItem]:
    """Return the work items that `generate` makes of photos."""
    generator, settings = find_generator(GENERATOR), recipe.generators[GENERATOR]
    config = ItemConfig(
        settings=settings.model_dump(mode="json"),
        finish=_make_finish(recipe).model_dump(mode="json"),
        shared=SHARED,
    )
    return make_items(generator, generator.phases[0], settings, photos, {}, config)


def save_results(folder: Path, first: int, end: int) -> None:
    """Save the results that the worker would save for the references ``first`` to ``end`` - 1."""
    recipe, store = Recipe(), open_store(folder / "store")
    for item in _make_items(recipe, draw_references(end)[first:]):
        _save_result(store, item, run="simulated")


def worker(folder: Path) -> None:
    """Complete scheduled child runs until the process ends, as if their stages did nothing."""
    store = open_store(folder / "store")
    started: set[UUID] = set()
    queue: SimpleQueue[FlowRun] = SimpleQueue()

    def complete_runs() -> None:
        with get_client(sync_client=True) as client:
            while True:
                _complete(client, store, queue.get())

    for _ in range(THREADS):
        threading.Thread(target=complete_runs, daemon=True).start()
    with get_client(sync_client=True) as client:
        while True:
            soon = datetime.now(UTC) + timedelta(seconds=10)
            runs = client.get_scheduled_flow_runs_for_work_pool(POOL, scheduled_before=soon)
            for run in (scheduled.flow_run for scheduled in runs):
                if run.id not in started:
                    started.add(run.id)
                    queue.put(run)
            time.sleep(POLL_S)


def _run_later_steps(
    context: RunContext,
    folder: Path,
    recipe: Recipe,
    photos: Sequence[SourceImage],
    results: Sequence[Result],
    steps: dict[str, StepCost],
) -> None:
    """Run the steps of the pipeline after the fan-out, without pixels."""
    store, run, started = context.store, "benchmark", time.monotonic()
    with timed(steps, "results to the store and back"):
        save_part(store, run, Generation(results={GENERATOR: tuple(results)}))
        generation = load_part(store, run, Generation)
    _screen(photos, steps)
    with timed(steps, "samples"):
        synthetic = [
            sample for result in generation.all for sample in load_samples(store, result.key)
        ]
    held_out = [make_photo(number, "val") for number in range(len(photos) // 10)]
    sources = Sources(images=(*photos, *held_out))
    real = [make_photo_sample(photo) for photo in sources.images]
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
    with timed(steps, "input of the report"):
        summarize(recipe, sources, generation, datasets, trained, context, [], started)
    with timed(steps, "pin"):
        quality = MeasuredQuality()
        pin_results(context, run, sources, generation, datasets, quality, trained)


def _screen(photos: Sequence[SourceImage], steps: dict[str, StepCost]) -> None:
    """Split photos by their hashes, and compare images with the held-out photos.

    In a real run each worker screens the images of its references. Here one process screens
    `SAMPLES` images of each reference.
    """
    hashed = [make_hashed(photo) for photo in photos]
    with timed(steps, "split photos"):
        result = split(hashed, SplitParameters())
    held_out = [
        {"name": photo.file, "hashes": [f"{photo.dhash:064x}", f"{photo.dhash_mirrored:064x}"]}
        for photo in hashed
        if result.assigned[photo.file] != "train"
    ]
    with timed(steps, "screen (in workers)"):
        index = HeldOutHashes(held_out, Screen().heldout_bits)
        for name in (photo.name for photo in photos):
            codes = [artifact_of("resize", f"{name}_{copy}", "jpg").key for copy in range(SAMPLES)]
            rows = [{**SCORES, "digest": code, "dhash": code} for code in codes]
            judge(rows, index, Screen())


def _complete(client: SyncPrefectClient, store: Store, run: FlowRun) -> None:
    states: tuple[State[Any], ...] = (Pending(), Running())
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)
    item, _ = load_item(store, str(run.parameters["key"]))
    _save_result(store, item, str(run.id))
    client.set_flow_run_state(run.id, Completed(), force=True)


def _save_result(store: Store, item: WorkItem, run: str) -> None:
    (source,) = item.sources
    samples = tuple(make_sample(source, copy) for copy in range(SAMPLES))
    artifacts = [
        artifact
        for sample in samples
        for artifact in (sample.image, sample.annotations[0].mask)
        if artifact
    ]
    for artifact in artifacts:
        store.put(artifact, BLOB)
    record = GenerationRecord(samples=samples, artifacts=tuple(artifacts))
    stages = [f"stage_{number}" for number in range(STAGES)]
    costs = {
        "counts": dict.fromkeys(stages, StageCount(computed=SAMPLES)),
        "cpu_s": dict.fromkeys(stages, 0.1),
        "run": run,
    }
    save_result(store, result_of(item, record).model_copy(update=costs), record)


def _peak_mb() -> float:
    return high_water_mb(os.getpid()) or 0.0


if __name__ == "__main__":
    side, work = sys.argv[1], Path(sys.argv[2])
    if side == "worker":
        worker(work)
    elif side == "save_results":
        save_results(work, int(sys.argv[3]), int(sys.argv[4]))
    else:
        parent(work, int(sys.argv[3]), json.loads(sys.argv[4]), int(sys.argv[5]))
