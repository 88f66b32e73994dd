"""Measures how long an unchanged rerun of 5,000 images takes.

A rerun computes nothing. It starts up, reads what is done, checks the dataset files, and writes
manifest and report. It is compared with an empty Prefect flow that is started the same way; no run
with Prefect can be faster.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import table, tree_cpu_s
from benchmarks.many import RunFigures, first_run, run

GOAL_S = 15.0
IMAGES = 5040
EMPTY_FLOW = """\
import os
from synthset.main import PREFECT_DEFAULTS
for name, value in PREFECT_DEFAULTS.items():
    os.environ.setdefault(name, value)
from prefect import flow
@flow
def nothing(): pass
nothing()
"""


@dataclass(frozen=True)
class Rerun:
    """The first run, its fastest rerun, and wall and CPU seconds of an empty flow."""

    first: RunFigures
    rerun: RunFigures
    empty_wall_s: float
    empty_cpu_s: float


def measure(folder: Path, images: int, repeats: int) -> Rerun:
    """Run once, then rerun ``repeats`` times; an empty flow runs before each rerun.

    Raises:
        RuntimeError: a rerun computed artifacts.
    """
    first = first_run(folder, images)
    reruns, empty = [], []
    for _ in range(repeats):
        empty.append(_run_empty_flow())
        reruns.append(run(folder, images))
        if reruns[-1].computed:
            raise RuntimeError(f"a rerun computed {reruns[-1].computed} artifacts")
    return Rerun(
        first=first,
        rerun=min(reruns, key=lambda figures: figures.wall_s),
        empty_wall_s=min(wall for wall, _ in empty),
        empty_cpu_s=min(cpu for _, cpu in empty),
    )


def main(folder: Path) -> None:
    """Print a table of the first run, the rerun and the empty flow."""
    figures = measure(folder, IMAGES, repeats=3)
    rows = [
        [f"first run, {figures.first.images} images", figures.first.wall_s, figures.first.cpu_s],
        ["rerun, nothing changed", figures.rerun.wall_s, figures.rerun.cpu_s],
        ["empty Prefect flow", figures.empty_wall_s, figures.empty_cpu_s],
    ]
    own_s = figures.rerun.wall_s - figures.empty_wall_s
    print(table(["least of three, whole process", "wall s", "CPU s"], rows))
    ms = 1e3 * own_s / figures.rerun.images
    print(
        f"\n**A rerun takes {figures.rerun.wall_s:.1f} s** (goal: under {GOAL_S:.0f} s: "
        f"{'met' if figures.rerun.wall_s < GOAL_S else 'missed'}), "
        f"{figures.rerun.wall_s / figures.empty_wall_s:.1f} times an empty flow. "
        f"synthset's own part is {own_s:.1f} s: {ms:.1f} ms per image. "
        f"The first run took {figures.first.cpu_s / figures.rerun.cpu_s:.0f} times the CPU time."
    )


def _run_empty_flow() -> tuple[float, float]:
    started, cpu_s = time.perf_counter(), tree_cpu_s()
    subprocess.run([sys.executable, "-c", EMPTY_FLOW], check=True, capture_output=True)
    return time.perf_counter() - started, tree_cpu_s() - cpu_s
