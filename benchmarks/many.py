"""Runs the command line on photos for thousands of small images, for `rerun` and `memory`."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import PeakMemory, tree_cpu_s
from models.compositing.backgrounds.scene import procedural_background
from models.data import pixels
from tests.demo_scenes.render import write_photos

LABELS = ("bottle", "bowl", "mug")
PER_PHOTO = 112
SCENES = ("on a wooden table", "on grass", "on cobblestones", "on sand")
# The study's numbers of images, at a size where computing is cheap, so that the run's own cost
# remains. Backgrounds are files, because drawing them takes as long as all other stages.
RECIPE = """\
name: many
backgrounds: backgrounds
generators:
  multiview:
    upscale: {factor: 1}
    multiview: {size: 96}
    upscale_views: {factor: 1}
    background: {width: 96, height: 128}
resize: {longest_side: 128}
screen: {heldout_bits: 0}
train: null
quality: null
"""


@dataclass(frozen=True)
class RunFigures:
    """A run of the command line: images, wall and CPU seconds, and peak memory in MiB.

    ``cpu_s`` includes the embedded Prefect server, and ``server_mb`` is the server alone.
    """

    images: int
    computed: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    server_mb: float


def prepare(folder: Path, photos_per_class: int) -> None:
    """Write photos, backgrounds and the recipe into a folder; existing files are kept."""
    write_photos(folder / "photos", train=photos_per_class, test=2, classes=LABELS, size=(128, 96))
    backgrounds = folder / "backgrounds"
    backgrounds.mkdir(exist_ok=True)
    for number, scene in enumerate(SCENES):
        path = backgrounds / f"scene_{number}.png"
        if not path.is_file():
            background = procedural_background(scene, (192, 256), np.random.default_rng(number))
            path.write_bytes(pixels.encode_png(background.pixels))
    (folder / "many.yaml").write_text(RECIPE)


def first_run(folder: Path, images: int) -> RunFigures:
    """Run about ``images`` images in a new store; a second call returns the saved figures."""
    saved = folder / f"run-{images}.json"
    if not saved.is_file():
        references = round(images / PER_PHOTO)
        # 15 % of the train photos of a class become val; two more allow for rounding.
        prepare(folder, max(6, round(references / len(LABELS) / 0.85) + 2))
        figures = run(folder, images)
        saved.write_text(json.dumps(asdict(figures)))
    return RunFigures(**json.loads(saved.read_text()))


def run(folder: Path, images: int) -> RunFigures:
    """Run the command line on the folder's photos, as a user would."""
    out = folder / f"out-{images}"
    command = [
        *(sys.executable, "-m", "synthset.main", "run", str(folder / "many.yaml")),
        *("--photos", str(folder / "photos"), "--out", str(out), "--json"),
        *("--limit", str(round(images / PER_PHOTO))),
    ]
    started, cpu_s = time.perf_counter(), tree_cpu_s()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with PeakMemory(process.pid) as memory:
            output, log = process.communicate()
        wall_s = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"the run failed: {log.decode()[-500:]}")
    summary = json.loads(output)
    others = [peak for pid, peak in memory.peaks.items() if pid != process.pid]
    return RunFigures(
        images=summary["images"]["made"],
        computed=sum(stage["computed"] for stage in summary["stages"].values()),
        wall_s=wall_s,
        cpu_s=tree_cpu_s() - cpu_s,
        peak_mb=memory.peaks[process.pid],
        server_mb=max(others, default=0.0),
    )
