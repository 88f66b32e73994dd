"""How many images a second the classical pipeline makes, and what each stage costs.

Every stage keeps an account of its CPU seconds: computing, decoding its inputs, encoding and
storing its outputs. The peer is what one would write by hand: cut-outs pasted on backgrounds and
saved with Pillow, without views, shadows, colour matching, depth, masks, screening or a store.
"""

import io
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import table
from benchmarks.photos import draw_photo, ingest_photo, make_item, make_samples_of
from flows.config.recipe import Recipe, load_recipe
from flows.generators.catalog import find_generator
from flows.items import plan_item
from models.compositing.backgrounds.scene import procedural_background
from models.data import pixels
from models.data.records import SourceImage
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs
from tasks.store.store import open_store

COSTS = ("compute", "decode", "encode", "store")
ONE_MEGAPIXEL = 1e6
HALF = (
    "profile=classical",
    "generators.multiview.multiview.size=160",
    "generators.multiview.background.width=384",
    "generators.multiview.background.height=512",
    "resize.longest_side=256",
)


@dataclass(frozen=True)
class StageCost:
    """What a stage made of the photos, in CPU seconds by kind, megapixels and stored bytes."""

    stage: str
    artifacts: int
    megapixels: float
    size: int
    cpu_s: dict[str, float]

    @property
    def total_s(self) -> float:
        """All its CPU seconds."""
        return sum(self.cpu_s.values())

    @property
    def point(self) -> tuple[float, float]:
        """Megapixels and CPU milliseconds of one artifact."""
        return self.megapixels / self.artifacts, 1e3 * self.total_s / self.artifacts


@dataclass(frozen=True)
class Measured:
    """Finished images of the photos, the stages' accounts, and all CPU seconds of the runs."""

    images: int
    stages: list[StageCost]
    cpu_s: float
    peer_s: float


def measure(recipe: Recipe, photos: Sequence[Path], folder: Path, repeats: int) -> Measured:
    """Run all stages on each photo, without Prefect, in a new store; return the least of each cost.

    Args:
        recipe: what to make of a photo.
        photos: files named ``<class>_<number>``.
        folder: a place for stores; those of an earlier measurement are removed.
        repeats: how often.
    """
    runs = [_run_all(recipe, photos, folder / f"store-{at}") for at in range(repeats)]
    megapixels: dict[str, float] = {}
    first = runs[0]
    for source, shared in first.sources:
        for stage, planned in _planned_megapixels(recipe, source, shared).items():
            megapixels[stage] = megapixels.get(stage, 0.0) + planned
    stages = [
        StageCost(
            stage,
            artifacts,
            megapixels.get(stage, 0.0),
            size,
            {cost: min(run.cpu_s[stage][cost] for run in runs) for cost in COSTS},
        )
        for stage, (artifacts, size) in first.made.items()
    ]
    peer_s = min(_paste_by_hand(first.contexts, first.images) for _ in range(repeats))
    return Measured(first.images, stages, min(run.total_s for run in runs), peer_s)


def constants(large: Measured, small: Measured) -> dict[str, tuple[float, float]]:
    """Per stage the CPU milliseconds of an artifact, and those of each megapixel of it.

    They are the line through two sizes of the same work. Each stage has them, rounded, as `Cost`.
    """
    small_points = {one.stage: one.point for one in small.stages}
    lines = {}
    for one in large.stages:
        (near, low), (far, high) = small_points[one.stage], one.point
        slope = max(0.0, (high - low) / (far - near)) if far > near else 0.0
        lines[one.stage] = max(0.0, low - slope * near), slope
    return lines


def main(folder: Path) -> None:
    """Print the table for the shipped recipe ``multiview``, scenes of 768x1024."""
    photos = [draw_photo(folder, label, seed) for label, seed in (("mug", 3), ("bottle", 5))]
    found = measure(load_recipe("multiview", ["profile=classical"]), photos, folder, repeats=2)
    half = measure(load_recipe("multiview", list(HALF)), photos[:1], folder / "half", repeats=2)
    lines = constants(found, half)
    total = sum(one.total_s for one in found.stages)
    rows = [
        [
            *(one.stage, one.artifacts, *(one.cpu_s[cost] for cost in COSTS)),
            f"{100 * one.total_s / total:.0f} %",
            *(*lines[one.stage], _megabytes(one)),
        ]
        for one in found.stages
    ]
    shares = {cost: sum(one.cpu_s[cost] for one in found.stages) for cost in COSTS}
    told = ", ".join(f"{cost} {100 * spent / total:.0f} %" for cost, spent in shares.items())
    print(table(["stage", "artifacts", *COSTS, "share", "ms each", "+ ms/MP", "MB/MP"], rows))
    print(
        f"\n{found.images} images of 768x1024 in {found.cpu_s:.1f} CPU s: "
        f"**{found.images / found.cpu_s:.2f} images per CPU second** ({told})"
    )
    print(
        f"An image costs {found.cpu_s / found.peer_s:.2f} times what pasting a cut-out by hand and "
        f"saving it with Pillow costs ({1e3 * found.peer_s / found.images:.0f} ms)."
    )


@dataclass(frozen=True)
class _Run:
    images: int
    made: dict[str, tuple[int, int]]
    cpu_s: dict[str, dict[str, float]]
    total_s: float
    contexts: list[RunContext]
    sources: list[tuple[SourceImage, SharedInputs]]


def _run_all(recipe: Recipe, photos: Sequence[Path], place: Path) -> _Run:
    shutil.rmtree(place, ignore_errors=True)
    store = open_store(place)
    made: dict[str, tuple[int, int]] = {}
    cpu_s: dict[str, dict[str, float]] = {}
    images, total_s = 0, 0.0
    contexts: list[RunContext] = []
    sources: list[tuple[SourceImage, SharedInputs]] = []
    for photo in photos:
        source, shared = ingest_photo(RunContext(store, "ingest"), photo)
        context = RunContext(store, source.name)
        started = time.process_time()
        images += len(make_samples_of(context, recipe, source, shared))
        total_s += time.process_time() - started
        for artifact in context.made.values():
            if artifact.stage in context.cpu_s:
                count, size = made.get(artifact.stage, (0, 0))
                made[artifact.stage] = count + 1, size + artifact.size
        for stage, costs in context.cpu_s.items():
            account = cpu_s.setdefault(stage, dict.fromkeys(COSTS, 0.0))
            for cost, spent in costs.items():
                account[cost] += spent
        contexts.append(context)
        sources.append((source, shared))
    return _Run(images, made, cpu_s, total_s, contexts, sources)


def _planned_megapixels(
    recipe: Recipe, source: SourceImage, shared: SharedInputs
) -> dict[str, float]:
    """Per stage the megapixels of all that it makes of a photo."""
    generator = find_generator("multiview")
    run = PlanningRun()
    height, width = source.image.metadata["height"], source.image.metadata["width"]
    size = {"megapixels": width * height / ONE_MEGAPIXEL}
    run.made[source.image.id] = source.image.model_copy(update={"metadata": size})
    settings = recipe.generators[generator.name]
    phase, item = generator.phases[0], make_item(source)
    plan_item(run, generator, phase, settings, item, shared, recipe.resize)
    megapixels: dict[str, float] = {}
    for placeholder in run.made.values():
        planned = megapixels.get(placeholder.stage, 0.0) + placeholder.metadata["megapixels"]
        megapixels[placeholder.stage] = planned
    return megapixels


def _paste_by_hand(contexts: Sequence[RunContext], images: int) -> float:
    """CPU seconds of pasting as many cut-outs on backgrounds with Pillow, measured on eight."""
    made = [one for context in contexts for one in context.made.values()]
    cut_outs = [one for one in made if one.stage == "segment" and not one.reject_reason][:8]
    blobs = [contexts[0].store.read(one) for one in cut_outs]
    table_top = procedural_background("on a wooden table", (768, 1024), np.random.default_rng(0))
    background = io.BytesIO(pixels.encode_jpeg(table_top.pixels))
    started = time.process_time()
    for blob in blobs:
        cut_out = Image.open(io.BytesIO(blob)).resize((500, 500), Image.Resampling.LANCZOS)
        scene = Image.open(background).convert("RGB")
        scene.paste(cut_out, (130, 400), cut_out)
        scene.save(io.BytesIO(), "PNG")
    return (time.process_time() - started) / len(blobs) * images


def _megabytes(cost: StageCost) -> float | str:
    return cost.size / 1e6 / cost.megapixels if cost.megapixels else "-"
