"""Measures images per CPU second of the classical profile, and the cost of each stage.

Stages record their CPU seconds for computing, decoding inputs, encoding and storing outputs. The
comparison is a script by hand, which pastes cut-outs on backgrounds and saves them with Pillow. It
has no views, shadows, colour matching, depth, masks, screening or store.
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
    """The artifacts of a stage, their megapixels and bytes, and CPU seconds by kind."""

    stage: str
    artifacts: int
    megapixels: float
    size: int
    cpu_s: dict[str, float]

    @property
    def total_s(self) -> float:
        """The sum of its CPU seconds."""
        return sum(self.cpu_s.values())

    @property
    def point(self) -> tuple[float, float]:
        """Megapixels and CPU milliseconds of one artifact."""
        return self.megapixels / self.artifacts, 1e3 * self.total_s / self.artifacts


@dataclass(frozen=True)
class Measured:
    """The number of images, the costs of stages, and CPU seconds of the runs and of Pillow."""

    images: int
    stages: list[StageCost]
    cpu_s: float
    pillow_s: float


def measure(recipe: Recipe, photos: Sequence[Path], folder: Path, repeats: int) -> Measured:
    """Run all stages on each photo without Prefect; return the smallest of each cost.

    Args:
        recipe: names the images of a photo.
        photos: files named ``<class>_<number>``.
        folder: for stores; those of an earlier measurement are removed.
        repeats: number of runs, each in a new store.
    """
    runs = [_run_all(recipe, photos, folder / f"store-{number}") for number in range(repeats)]
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
    pillow_s = min(_paste_by_hand(first.contexts, first.images) for _ in range(repeats))
    return Measured(first.images, stages, min(run.total_s for run in runs), pillow_s)


def constants(large: Measured, small: Measured) -> dict[str, tuple[float, float]]:
    """Return CPU milliseconds per artifact and per megapixel, by stage.

    They describe the line through the costs at two sizes. Stages have them, rounded, as `Cost`.
    """
    small_points = {cost.stage: cost.point for cost in small.stages}
    lines = {}
    for cost in large.stages:
        (near, low), (far, high) = small_points[cost.stage], cost.point
        slope = max(0.0, (high - low) / (far - near)) if far > near else 0.0
        lines[cost.stage] = max(0.0, low - slope * near), slope
    return lines


def main(folder: Path) -> None:
    """Print the table for the shipped recipe ``multiview``, scenes of 768x1024."""
    photos = [draw_photo(folder, label, seed) for label, seed in (("mug", 3), ("bottle", 5))]
    full = measure(load_recipe("multiview", ["profile=classical"]), photos, folder, repeats=2)
    half = measure(load_recipe("multiview", list(HALF)), photos[:1], folder / "half", repeats=2)
    lines = constants(full, half)
    total = sum(cost.total_s for cost in full.stages)
    rows = [
        [
            *(cost.stage, cost.artifacts, *(cost.cpu_s[kind] for kind in COSTS)),
            f"{100 * cost.total_s / total:.0f} %",
            *(*lines[cost.stage], _megabytes_per_megapixel(cost)),
        ]
        for cost in full.stages
    ]
    kinds = {kind: sum(cost.cpu_s[kind] for cost in full.stages) for kind in COSTS}
    shares = ", ".join(f"{kind} {100 * cpu_s / total:.0f} %" for kind, cpu_s in kinds.items())
    print(table(["stage", "artifacts", *COSTS, "share", "ms each", "+ ms/MP", "MB/MP"], rows))
    print(
        f"\n{full.images} images of 768x1024 take {full.cpu_s:.1f} CPU s: "
        f"**{full.images / full.cpu_s:.2f} images per CPU second** ({shares})"
    )
    print(
        f"An image costs {full.cpu_s / full.pillow_s:.2f} times as much as pasting a cut-out by "
        f"hand and saving it with Pillow ({1e3 * full.pillow_s / full.images:.0f} ms)."
    )


@dataclass(frozen=True)
class _Run:
    images: int
    made: dict[str, tuple[int, int]]
    cpu_s: dict[str, dict[str, float]]
    total_s: float
    contexts: list[RunContext]
    sources: list[tuple[SourceImage, SharedInputs]]


def _run_all(recipe: Recipe, photos: Sequence[Path], folder: Path) -> _Run:
    shutil.rmtree(folder, ignore_errors=True)
    store = open_store(folder)
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
            totals = cpu_s.setdefault(stage, dict.fromkeys(COSTS, 0.0))
            for kind, seconds in costs.items():
                totals[kind] += seconds
        contexts.append(context)
        sources.append((source, shared))
    return _Run(images, made, cpu_s, total_s, contexts, sources)


def _planned_megapixels(
    recipe: Recipe, source: SourceImage, shared: SharedInputs
) -> dict[str, float]:
    """Return the megapixels of all artifacts of a photo, by stage."""
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
    """Return the CPU seconds that Pillow needs to paste ``images`` cut-outs, measured on eight."""
    cut_outs = [
        artifact
        for context in contexts
        for artifact in context.made.values()
        if artifact.stage == "segment" and not artifact.reject_reason
    ]
    blobs = [contexts[0].store.read(cut_out) for cut_out in cut_outs[:8]]
    table_top = procedural_background("on a wooden table", (768, 1024), np.random.default_rng(0))
    background = io.BytesIO(pixels.encode_jpeg(table_top.pixels))
    started = time.process_time()
    for blob in blobs:
        cut_out = Image.open(io.BytesIO(blob)).resize((500, 500), Image.Resampling.LANCZOS)
        scene = Image.open(background).convert("RGB")
        scene.paste(cut_out, (130, 400), cut_out)
        scene.save(io.BytesIO(), "PNG")
    return (time.process_time() - started) / len(blobs) * images


def _megabytes_per_megapixel(cost: StageCost) -> float | str:
    return cost.size / 1e6 / cost.megapixels if cost.megapixels else "-"
