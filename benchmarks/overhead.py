"""Measures what store, PNG and Prefect cost in a run, compared with the models alone.

The same images are made by the models in a loop, and by the stages with records, PNG files and
store; CPU seconds are compared. Encoding images and writing plain files are listed apart, because
every program that keeps images pays for them. Prefect's part is measured on references that are
done already, and includes the embedded server.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import table, tree_cpu_s
from benchmarks.photos import draw_photo, ingest_photo, make_samples_of
from benchmarks.replay import Contents, replay
from deployments.server.embedded import temporary_server
from flows.config.recipe import Recipe, load_recipe
from flows.execution.progress import show_progress
from flows.finish import Finish
from flows.generate_item import generate_item
from flows.generators.catalog import find_generator
from flows.items import make_items
from models.data.records import Artifact, SourceImage
from tasks.engine.item_documents import save_items
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import ItemConfig, SharedInputs
from tasks.store.store import Store, open_store

GOAL = 0.10
RUNS = 10
# After the last flow the embedded server still writes to its database.
SETTLE_S = 2.0


@dataclass(frozen=True)
class Inputs:
    """A photo, the recipe, and the inputs that all photos share."""

    recipe: Recipe
    source: SourceImage
    shared: SharedInputs


@dataclass(frozen=True)
class Costs:
    """CPU seconds for the images of one photo, by part.

    ``loop_s`` is the models in a loop, and ``computing_s`` the models in the stages. ``codec_s`` is
    encoding and decoding of PNG and JSON, with digests. ``files_s`` is writing the same bytes to
    plain files. ``store_s`` is the rest of stages and store.
    """

    images: int
    loop_s: float
    computing_s: float
    codec_s: float
    files_s: float
    store_s: float

    @property
    def models_s(self) -> float:
        """CPU seconds of the models: the smaller of both measurements."""
        return min(self.loop_s, self.computing_s)


def measure(recipe: Recipe, photo: Path, folder: Path, repeats: int) -> Costs:
    """Measure the models alone and the stages, repeatedly; the smallest figure of a part counts.

    Raises:
        RuntimeError: the loop computed other images than the stages.
    """
    runs = [_measure_once(recipe, photo, folder / f"run-{n}") for n in range(repeats)]
    parts = ("loop_s", "computing_s", "codec_s", "files_s", "store_s")
    least = {part: min(getattr(run, part) for run in runs) for part in parts}
    return Costs(images=runs[0].images, **least)


def measure_prefect(recipe: Recipe, photo: Path, folder: Path, runs: int) -> float:
    """Return Prefect's CPU seconds for one reference: child run, task runs, progress and server.

    The server is that of a command without a configured one. Its start is not included.
    """
    from prefect import flow

    store = open_store(folder / "prefect")
    inputs = _ingest(recipe, photo, store)
    _make(store, inputs)

    @flow(name="benchmark", validate_parameters=False)
    def parent() -> float:
        with show_progress("references", runs) as advance:
            time.sleep(SETTLE_S)
            started = tree_cpu_s()
            for _ in range(runs):
                generator = find_generator("multiview")
                settings = inputs.recipe.generators[generator.name]
                finish = Finish(screen=inputs.recipe.screen, resize=inputs.recipe.resize)
                config = ItemConfig(
                    settings=settings.model_dump(mode="json"),
                    finish=finish.model_dump(mode="json"),
                    shared=inputs.shared,
                )
                phase = generator.phases[0]
                (item,) = make_items(generator, phase, settings, [inputs.source], {}, config)
                save_items(store, [item], config)
                generate_item(item.name, item.phase, store.url, item.key)
                advance(item.name)
            time.sleep(SETTLE_S)
            return tree_cpu_s() - started

    with temporary_server():
        with_prefect_s = parent() / runs
    started = time.process_time()
    for _ in range(runs):
        _make(store, inputs)
    return with_prefect_s - (time.process_time() - started) / runs


def main(folder: Path) -> None:
    """Print the costs of 64 images of 768x1024: 4 views x 2 copies x 2 backgrounds x 4 shifts."""
    recipe = load_recipe(
        "multiview", ["profile=classical", "generators.multiview.multiview.views=3"]
    )
    photo = draw_photo(folder, "mug", 3)
    prefect_s = measure_prefect(recipe, photo, folder, RUNS)
    costs = measure(recipe, photo, folder, repeats=4)
    parts: dict[str, float] = {
        "models": costs.models_s,
        "PNG and digests, writing and reading": costs.codec_s,
        "the bytes in plain files": costs.files_s,
        "store: keys, records, leases": costs.store_s,
        "Prefect: child run, 13 task runs, server": prefect_s,
    }
    print(table([f"one photo, {costs.images} images", "CPU s", "of the models'"], _rows(parts)))
    overhead = (costs.store_s + prefect_s) / costs.models_s
    total = sum(parts.values()) / costs.models_s - 1
    print(
        f"\n**Store and Prefect add {100 * overhead:.1f} %** to the models' CPU time (goal: under "
        f"{100 * GOAL:.0f} %: {'met' if overhead < GOAL else 'missed'}). With PNG and files a run "
        f"adds {100 * total:.0f} %. In a plain loop that keeps everything in memory the models "
        f"take {costs.loop_s:.2f} s."
    )


def _rows(parts: Mapping[str, float]) -> list[list[object]]:
    models_s = next(iter(parts.values()))
    return [[name, cost, f"{100 * cost / models_s:.1f} %"] for name, cost in parts.items()]


def _measure_once(recipe: Recipe, photo: Path, folder: Path) -> Costs:
    store = open_store(folder)
    inputs = _ingest(recipe, photo, store)
    run = RunContext(store, inputs.source.name)
    started = time.process_time()
    images = len(make_samples_of(run, recipe, inputs.source, inputs.shared))
    total_s = time.process_time() - started
    compute_s, *codec = (
        sum(costs[kind] for costs in run.cpu_s.values()) for kind in ("compute", "decode", "encode")
    )
    codec_s = sum(codec)
    files_s = _write_plain_files(run, folder / "plain")
    costs = Costs(
        images=images,
        loop_s=_replay(inputs, run),
        computing_s=compute_s,
        codec_s=codec_s,
        files_s=files_s,
        store_s=total_s - compute_s - codec_s - files_s,
    )
    shutil.rmtree(folder)
    return costs


def _write_plain_files(run: RunContext, folder: Path) -> float:
    """Write the bytes of all artifacts to files in one folder; return CPU seconds."""
    folder.mkdir()
    made = [
        artifact
        for artifact in run.made.values()
        if artifact.stage in run.cpu_s and not artifact.reject_reason
    ]
    total_s = 0.0
    for artifact in made:
        blob = run.store.read(artifact)
        started = time.process_time()
        (folder / artifact.key).write_bytes(blob)
        total_s += time.process_time() - started
    return total_s


def _replay(inputs: Inputs, run: RunContext) -> float:
    first = (inputs.source.image, *inputs.shared.heldout)
    contents = Contents((artifact.id, run.load(artifact)) for artifact in first)
    made: dict[str, Artifact] = {artifact.id: artifact for artifact in first} | run.made
    started = time.process_time()
    replay(made, contents)
    loop_s = time.process_time() - started
    finished = [artifact for artifact in run.made.values() if artifact.stage == "resize"]
    if any(run.store.read(artifact) != contents[artifact.id] for artifact in finished):
        raise RuntimeError("the loop computed other images than the stages")
    return loop_s


def _ingest(recipe: Recipe, photo: Path, store: Store) -> Inputs:
    return Inputs(recipe, *ingest_photo(RunContext(store, "ingest"), photo))


def _make(store: Store, inputs: Inputs) -> None:
    run = RunContext(store, inputs.source.name)
    make_samples_of(run, inputs.recipe, inputs.source, inputs.shared)
