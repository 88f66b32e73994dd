"""Whole runs of thousands of small images through the command line, for `rerun` and `memory`."""

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
# The study's numbers at a size where computing is cheap: what is left is the run's own cost. Photos
# as backgrounds, since drawing a background takes as long as all the rest.
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

    ``cpu_s`` and ``server_mb`` are of the run with its embedded Prefect server, and of the server
    alone.
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
    """A run of about so many images in a new store; done once per folder and remembered there."""
    known = folder / f"run-{images}.json"
    if not known.is_file():
        references = round(images / PER_PHOTO)
        # Of a class's train photos 15 % become val; two more are a margin for its rounding.
        prepare(folder, max(6, round(references / len(LABELS) / 0.85) + 2))
        figures = run(folder, images)
        known.write_text(json.dumps(asdict(figures)))
    return RunFigures(**json.loads(known.read_text()))


def run(folder: Path, images: int) -> RunFigures:
    """The command line on the folder's photos, as a user would start it."""
    out = folder / f"out-{images}"
    command = [
        *(sys.executable, "-m", "synthset.main", "run", str(folder / "many.yaml")),
        *("--photos", str(folder / "photos"), "--out", str(out), "--json"),
        *("--limit", str(round(images / PER_PHOTO))),
    ]
    started, spent = time.perf_counter(), tree_cpu_s()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with PeakMemory(process.pid) as memory:
            told, log = process.communicate()
        wall_s = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"the run failed: {log.decode()[-500:]}")
    summary = json.loads(told)
    others = [peak for pid, peak in memory.peaks.items() if pid != process.pid]
    return RunFigures(
        images=summary["images"]["made"],
        computed=sum(stage["computed"] for stage in summary["stages"].values()),
        wall_s=wall_s,
        cpu_s=tree_cpu_s() - spent,
        peak_mb=memory.peaks[process.pid],
        server_mb=max(others, default=0.0),
    )
