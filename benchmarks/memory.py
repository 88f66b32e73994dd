"""Measures peak memory of runs of about 500, 1,500 and 5,000 images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import table
from benchmarks.many import RunFigures, first_run

IMAGES = (560, 1568, 5040)


def measure(folder: Path, sizes: Sequence[int]) -> list[RunFigures]:
    """Return the figures of first runs of these sizes, each in a new store."""
    return [first_run(folder, size) for size in sizes]


def slope_mb(runs: Sequence[RunFigures]) -> float:
    """Return MiB of peak memory per 1,000 more images, by least squares."""
    thousands = [run.images / 1e3 for run in runs]
    return float(np.polyfit(thousands, [run.peak_mb for run in runs], 1)[0])


def main(folder: Path) -> None:
    """Print peak memory per number of images."""
    runs = measure(folder, IMAGES)
    rows = [[run.images, run.peak_mb, run.server_mb] for run in runs]
    print(table(["images", "run, peak MiB", "Prefect server, peak MiB"], rows))
    growth = runs[-1].peak_mb / runs[0].peak_mb
    print(
        f"\n**{slope_mb(runs):.1f} MiB per 1,000 images**: {runs[-1].images / runs[0].images:.0f} "
        f"times the images take {growth:.2f} times the memory."
    )
