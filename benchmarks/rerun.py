"""How long an unchanged run of 5,000 images takes when it is started again.

Nothing is computed, so what is left is start-up, Prefect, reading what is done, checking the
dataset files and writing manifest and report. The peer is a Prefect flow that does nothing, started
the same way: no run with Prefect can be faster.
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
    """The first run, the fastest of its reruns, and wall and CPU seconds of an empty flow."""

    first: RunFigures
    again: RunFigures
    empty_wall_s: float
    empty_cpu_s: float


def measure(folder: Path, images: int, repeats: int) -> Rerun:
    """Run once, then again and again, an empty flow before each.

    Raises:
        RuntimeError: a rerun computed something.
    """
    first = first_run(folder, images)
    reruns, empty = [], []
    for _ in range(repeats):
        empty.append(_empty_flow())
        reruns.append(run(folder, images))
        if reruns[-1].computed:
            raise RuntimeError(f"the rerun computed {reruns[-1].computed} artifacts again")
    return Rerun(
        first=first,
        again=min(reruns, key=lambda one: one.wall_s),
        empty_wall_s=min(wall for wall, _ in empty),
        empty_cpu_s=min(cpu for _, cpu in empty),
    )


def main(folder: Path) -> None:
    """Print a table of the first run, the rerun and the empty flow."""
    found = measure(folder, IMAGES, repeats=3)
    rows = [
        [f"first run, {found.first.images} images", found.first.wall_s, found.first.cpu_s],
        ["rerun, nothing changed", found.again.wall_s, found.again.cpu_s],
        ["empty Prefect flow", found.empty_wall_s, found.empty_cpu_s],
    ]
    own_s = found.again.wall_s - found.empty_wall_s
    print(table(["least of three, whole process", "wall s", "CPU s"], rows))
    print(
        f"\n**A rerun takes {found.again.wall_s:.1f} s** (goal: under {GOAL_S:.0f} s: "
        f"{'met' if found.again.wall_s < GOAL_S else 'missed'}), "
        f"{found.again.wall_s / found.empty_wall_s:.1f} times an empty flow; "
        f"{own_s:.1f} s are ours: {1e3 * own_s / found.again.images:.1f} ms an image. "
        f"The first run took {found.first.cpu_s / found.again.cpu_s:.0f} times the CPU time."
    )


def _empty_flow() -> tuple[float, float]:
    started, spent = time.perf_counter(), tree_cpu_s()
    subprocess.run([sys.executable, "-c", EMPTY_FLOW], check=True, capture_output=True)
    return time.perf_counter() - started, tree_cpu_s() - spent
