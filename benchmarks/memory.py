"""Whether peak memory stays flat in the number of images: whole runs of 500, 1,500 and 5,000."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import table
from benchmarks.many import RunFigures, first_run

IMAGES = (560, 1568, 5040)


def measure(folder: Path, sizes: Sequence[int]) -> list[RunFigures]:
    """First runs of these sizes, each in a store of its own."""
    return [first_run(folder, size) for size in sizes]


def slope_mb(runs: Sequence[RunFigures]) -> float:
    """MiB of peak memory that 1,000 more images cost, by least squares."""
    return float(
        np.polyfit([one.images / 1e3 for one in runs], [one.peak_mb for one in runs], 1)[0]
    )


def main(folder: Path) -> None:
    """Print peak memory by number of images."""
    runs = measure(folder, IMAGES)
    rows = [[one.images, one.peak_mb, one.server_mb] for one in runs]
    print(table(["images", "run, peak MiB", "Prefect server, peak MiB"], rows))
    growth = runs[-1].peak_mb / runs[0].peak_mb
    print(
        f"\n**{slope_mb(runs):.1f} MiB per 1,000 images**: {runs[-1].images / runs[0].images:.0f} "
        f"times the images take {growth:.2f} times the memory."
    )
