"""What a run costs beyond its models: store, PNG and Prefect against the models alone.

The same images are made in three ways and the CPU seconds compared: the models in a plain loop; the
stages with their records, PNG files and store; and the flow runs of Prefect around them. Coding
images and writing the bytes to plain files is what any way of keeping them costs, and is shown
apart. Prefect's share is measured on references whose work is done already, where nothing else is
left to measure, with the embedded server's CPU time.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import table, tree_cpu_s
from benchmarks.photos import draw_photo, ingest_photo, make_samples_of
from benchmarks.replay import Contents, replay
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
# After the last flow the embedded server still writes down what it was told.
SETTLE_S = 2.0


@dataclass(frozen=True)
class Work:
    """A photo, the recipe, and the inputs that all photos share."""

    recipe: Recipe
    source: SourceImage
    shared: SharedInputs


@dataclass(frozen=True)
class Costs:
    """CPU seconds of one photo's images, each part apart.

    ``loop_s`` is the models in a plain loop, ``computing_s`` the same work in the stages,
    ``codec_s`` writing and reading PNG and JSON and their digests, ``files_s`` the same bytes
    written to plain files, ``store_s`` everything else that stages and store do.
    """

    images: int
    loop_s: float
    computing_s: float
    codec_s: float
    files_s: float
    store_s: float

    @property
    def models_s(self) -> float:
        """What the models cost, by the kinder measure: a loop keeps all images in memory."""
        return min(self.loop_s, self.computing_s)


def measure(recipe: Recipe, photo: Path, folder: Path, repeats: int) -> Costs:
    """The models alone and the stages, in turns; of each part the least.

    Raises:
        RuntimeError: the loop did not compute what the stages did, so there is no comparison.
    """
    turns = [_turn(recipe, photo, folder / f"turn-{at}") for at in range(repeats)]
    parts = ("loop_s", "computing_s", "codec_s", "files_s", "store_s")
    least = {part: min(getattr(turn, part) for turn in turns) for part in parts}
    return Costs(images=turns[0].images, **least)


def measure_prefect(recipe: Recipe, photo: Path, folder: Path, runs: int) -> float:
    """CPU seconds that Prefect takes for one reference: child run, task runs, progress and server.

    Starting the server is not in it.
    """
    from prefect import flow

    store = open_store(folder / "prefect")
    work = _ingest(recipe, photo, store)
    _make(store, work)

    @flow(name="benchmark", validate_parameters=False)
    def parent() -> float:
        with show_progress("references", runs) as advance:
            time.sleep(SETTLE_S)
            started = tree_cpu_s()
            for _ in range(runs):
                generator = find_generator("multiview")
                settings = work.recipe.generators[generator.name]
                finish = Finish(screen=work.recipe.screen, resize=work.recipe.resize)
                config = ItemConfig(
                    settings=settings.model_dump(mode="json"),
                    finish=finish.model_dump(mode="json"),
                    shared=work.shared,
                )
                phase = generator.phases[0]
                (item,) = make_items(generator, phase, settings, [work.source], {}, config)
                save_items(store, [item], config)
                generate_item(item.name, item.phase, store.url, item.key)
                advance(item.name)
            time.sleep(SETTLE_S)
            return tree_cpu_s() - started

    with_prefect = parent() / runs
    started = time.process_time()
    for _ in range(runs):
        _make(store, work)
    return with_prefect - (time.process_time() - started) / runs


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
    together = (costs.store_s + prefect_s) / costs.models_s
    everything = sum(parts.values()) / costs.models_s - 1
    print(
        f"\n**Store and Prefect add {100 * together:.1f} %** to the models' CPU time (goal: under "
        f"{100 * GOAL:.0f} %: {'met' if together < GOAL else 'missed'}). With PNG and files, "
        "which any lossless way of keeping images has, a run adds "
        f"{100 * everything:.0f} %. In a plain loop that keeps all in memory the models take "
        f"{costs.loop_s:.2f} s."
    )


def _rows(parts: Mapping[str, float]) -> list[list[object]]:
    models_s = next(iter(parts.values()))
    return [[name, spent, f"{100 * spent / models_s:.1f} %"] for name, spent in parts.items()]


def _turn(recipe: Recipe, photo: Path, folder: Path) -> Costs:
    store = open_store(folder)
    work = _ingest(recipe, photo, store)
    run = RunContext(store, work.source.name)
    started = time.process_time()
    images = len(make_samples_of(run, recipe, work.source, work.shared))
    total_s = time.process_time() - started
    spent = {
        cost: sum(account[cost] for account in run.cpu_s.values())
        for cost in ("compute", "decode", "encode")
    }
    codec_s = spent["encode"] + spent["decode"]
    files_s = _plain_files(run, folder / "plain")
    costs = Costs(
        images=images,
        loop_s=_replayed(work, run),
        computing_s=spent["compute"],
        codec_s=codec_s,
        files_s=files_s,
        store_s=total_s - spent["compute"] - codec_s - files_s,
    )
    shutil.rmtree(folder)
    return costs


def _plain_files(run: RunContext, folder: Path) -> float:
    """CPU seconds of writing the same bytes to files, one after the other, in one folder."""
    folder.mkdir()
    made = [
        artifact
        for artifact in run.made.values()
        if artifact.stage in run.cpu_s and not artifact.reject_reason
    ]
    spent = 0.0
    for artifact in made:
        blob = run.store.read(artifact)
        started = time.process_time()
        (folder / artifact.key).write_bytes(blob)
        spent += time.process_time() - started
    return spent


def _replayed(work: Work, run: RunContext) -> float:
    inputs = (work.source.image, *work.shared.heldout)
    contents = Contents((artifact.id, run.load(artifact)) for artifact in inputs)
    made: dict[str, Artifact] = {artifact.id: artifact for artifact in inputs} | run.made
    started = time.process_time()
    replay(made, contents)
    spent = time.process_time() - started
    finished = [artifact for artifact in run.made.values() if artifact.stage == "resize"]
    if any(run.store.read(artifact) != contents[artifact.id] for artifact in finished):
        raise RuntimeError("the plain loop made other images than the run")
    return spent


def _ingest(recipe: Recipe, photo: Path, store: Store) -> Work:
    return Work(recipe, *ingest_photo(RunContext(store, "ingest"), photo))


def _make(store: Store, work: Work) -> None:
    run = RunContext(store, work.source.name)
    make_samples_of(run, work.recipe, work.source, work.shared)
