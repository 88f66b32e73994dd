"""Photos with boxes in a store, and tiny settings."""

from pathlib import Path
from typing import Any

import numpy as np

from models.data.pixels import Pixels, encode_png
from models.data.records import Annotation, Artifact, Box, SourceImage
from tasks.engine.run_context import RunContext
from tasks.settings.ddpm import (
    BaseFromScratch,
    FitAdapters,
    FitAll,
    FitSizeClassifier,
    SquareCrops,
    classifier_for,
    fit_for,
    squares_for,
)
from tasks.store.layout import digest_of
from tasks.store.store import open_store

TINY: dict[str, Any] = {"steps": 4, "batch": 4, "save_every": 2}
SAMPLED = TINY | {"evaluate_every": 2, "samples": 2, "sample_spacing": "2"}
BASE = BaseFromScratch(
    **SAMPLED, size=16, multipliers=(1, 1), attention_factors=(2,), squares=6, turns="none"
)
SQUARES = squares_for(BASE, SquareCrops())
FIT = fit_for(BASE, FitAll(**SAMPLED))
ADAPTERS = fit_for(BASE, FitAdapters(**SAMPLED, bottleneck=8))
CLASSIFIER = classifier_for(BASE, FitSizeClassifier(**TINY))


def open_run(folder: Path, **functions: Any) -> RunContext:
    return RunContext(open_store(folder / "store"), "test", folder / "scratch", **functions)


def put(run: RunContext, name: str, pixels: Pixels) -> Artifact:
    blob = encode_png(pixels)
    artifact = Artifact(
        key=digest_of(blob),
        stage="ingest",
        version=1,
        name=name,
        media="png",
        digest=digest_of(blob),
        size=len(blob),
    )
    run.store.put(artifact, blob)
    return artifact


def scene(run: RunContext, number: int, boxes: dict[str, Box], shade: int = 220) -> SourceImage:
    """A photo of 80x64 px in which each box is dark."""
    pixels = np.random.default_rng(number).integers(shade - 9, shade, (64, 80, 3), np.uint8)
    for x, y, width, height in boxes.values():
        pixels[int(y) : int(y + height), int(x) : int(x + width)] = 40
    return SourceImage(
        name=f"scene/{number}",
        file=f"{number}.png",
        split="train",
        image=put(run, f"scene/{number}", pixels),
        annotations=tuple(Annotation(label=label, box=box) for label, box in boxes.items()),
    )


def scenes(run: RunContext) -> list[SourceImage]:
    """Two photos with a car each; one shows a bus too."""
    return [
        scene(run, 0, {"car": (30, 20, 12, 10), "bus": (2, 40, 20, 16)}),
        scene(run, 1, {"car": (0, 0, 10, 14)}),
    ]
