"""A run so small that tests can afford many: drawn photos, a recipe to match, and the command line.

The fixtures that give them to tests, `cli` and `undisturbed`, are in tests/conftest.py.
"""

import contextlib
import faulthandler
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image

from synthset.main import PREFECT_DEFAULTS

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ("block", "disc")
PER_CLASS = {"train": 3, "val": 1, "test": 2}
REFERENCES = len(CLASSES) * PER_CLASS["train"]
# The screen's limits are off, so that counts do not hang on how well a tiny shape is cut out.
RECIPE = """\
generators:
  multiview:
    upscale: {factor: 1}
    multiview: {size: 64, views: 2}
    upscale_views: {factor: 1}
    augment: {n_augmentations: 1}
    segment: {working_side: 128, min_score: 0, min_compactness: 0}
    background: {n_backgrounds: 1, width: 80, height: 80}
    outpaint: {grid_size: 2}
screen:
  {min_contrast: 0, min_sharpness: 0, min_object: 0, max_object: 1, max_cut: 1,
   sibling_bits: 0, heldout_bits: 0}
resize: {longest_side: 64}
split: {compare_pictures: false}
datasets:
  - {name: real, real: 1.0}
  - {name: synthetic, synthetic: {multiview: 1.0}}
  - {name: mixed, real: 0.5, synthetic: {multiview: 0.5}}
train:
  network: small_cnn
  pretrained: false
  learning_rate: 0.002
  milestones: [1]
  image_size: 32
  epochs: 2
  seeds: [0]
  loggers: [csv]
quality: null
"""
# Artifacts of one reference, stage by stage: 3 views, 1 copy, 1 background, 2 x 2 shifts.
ONE_REFERENCE = {
    **{"upscale": 4, "multiview": 3, "caption": 1, "augment": 3, "segment": 3, "depth": 3},
    **{"masked_depth": 3, "background": 3, "outpaint": 12, "measure": 3, "screen": 1},
    **{"resize": 12, "annotate": 12},
}
PHOTOS = len(CLASSES) * sum(PER_CLASS.values())
ALL = {
    **{stage: REFERENCES * count for stage, count in ONE_REFERENCE.items()},
    **{"resize": REFERENCES * ONE_REFERENCE["resize"] + PHOTOS, "ingest": PHOTOS, "heldout": 1},
    **{"dataset": 4, "train": 3, "score": 3},
}
OTHERS = ("PREFECT_", "HF_", "WANDB_", "MLFLOW_", "SYNTHSET_", "CUDA_", "OMP_")
PATIENCE_S = 540.0
# When a command that still works prints the stacks of its threads.
STACKS_S = 180.0

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "flows.pipeline",
        # What its stages import when they run.
        "models.training.classification.train",
        "models.training.classification.linear",
        "models.augmentation.transforms",
        "models.reporting.dataset_card",
        "skimage.segmentation",
    ]
)


@dataclass(frozen=True)
class Ended:
    """A command that ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def found(self) -> Any:
        """What ``--json`` printed; fails unless that is all of stdout, and one object."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line in which a command said what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("synthset: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        return lines[0]


class Cli:
    """The command line: each command in a process and a process group of its own.

    `call` starts ``python -m synthset.main`` as a user does. `run` and `start` enter the same
    ``main``
    in a process forked from one that has imported the heavy libraries: seconds less each time.
    """

    def __init__(self, folder: Path, api_url: str | None = None) -> None:
        self._folder = folder
        self._own = {
            **{"OMP_NUM_THREADS": "1", "PREFECT_HOME": str(folder / "home"), "DO_NOT_TRACK": "1"},
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "SYNTHSET_SCRATCH": str(folder / "scratch"),
        }
        if api_url is not None:
            self._own["PREFECT_API_URL"] = api_url

    def prepare(self) -> None:
        """Start the process that `run` and `start` fork from. Prefect reads its settings there."""
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update({**PREFECT_DEFAULTS, **self.environment({})})
        first = _FORKS.Process(target=int)
        first.start()
        first.join()
        os.environ.clear()
        os.environ.update(before)

    def call(self, *arguments: object, **more: str) -> Ended:
        """A command in a new interpreter, waited for; ``more`` goes into its environment."""
        ended = subprocess.run(
            [sys.executable, "-m", "synthset.main", *map(str, arguments)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env=self.environment(more),
            timeout=PATIENCE_S,
            text=True,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def run(self, *arguments: object, **more: str) -> Ended:
        """A command in a forked process, waited for."""
        with self.start(*arguments, **more) as started:
            return started.wait()

    def start(self, *arguments: object, **more: str) -> "Started":
        """A command in a forked process, at work."""
        log = Path(tempfile.mkdtemp(dir=self._folder))
        work = _FORKS.Process(
            target=_enter, args=(list(map(str, arguments)), self.environment(more), log)
        )
        work.start()
        return Started(work, log)

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """The tests' environment with the command's own settings, and no others."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(OTHERS)}
        return {**kept, **self._own, **more}


class Started:
    """A command at work, in a context that leaves none of its processes behind."""

    def __init__(self, work: Any, log: Path) -> None:
        self._work = work
        self._log = log

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        if self._work.is_alive():
            self.kill()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self._work.is_alive())

    def kill(self) -> Ended:
        """Kill its whole process group at once, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._work.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> Ended:
        """How it ended."""
        self._work.join(PATIENCE_S)
        out, err = ((self._log / name).read_text() for name in ("out", "err"))
        assert not self._work.is_alive(), f"no end after {PATIENCE_S} s: {err}"
        return Ended(self._work.exitcode, out, err)


def _enter(arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
    os.setsid()
    restore_sigint()
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(log / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    # A command that hangs says where, so that the failed test shows it.
    faulthandler.dump_traceback_later(STACKS_S, file=2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["synthset", *arguments]

    from synthset.main import main

    main()


def restore_sigint() -> None:
    """Handle Ctrl-C as an interactive command does; a shell's background job ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Run:
    """Where a run reads and writes."""

    recipe: Path
    photos: Path
    out: Path

    @property
    def store(self) -> Path:
        """Its local store."""
        return self.out / "store"

    @property
    def arguments(self) -> list[object]:
        """The command that does it, with its summary as JSON."""
        return ["run", self.recipe, "--photos", self.photos, "--out", self.out, "--json"]

    def copy_to(self, out: Path, photos: Path | None = None) -> "Run":
        """The same run into a folder that has a copy of the store, perhaps of other photos."""
        shutil.copytree(self.store, out / "store")
        return Run(self.recipe, photos or self.photos, out)


@dataclass(frozen=True)
class Undisturbed(Run):
    """A finished run, with what it printed. Nothing may be changed in it."""

    summary: dict[str, Any]
    datasets: dict[str, str]
    rows: list[dict[str, Any]]


def draw_photos(folder: Path) -> None:
    """Blocks and discs on smooth grounds, no two alike, as ``<split>/<class>/<class>_<n>.png``."""
    number = 0
    for label in CLASSES:
        for split, count in PER_CLASS.items():
            for _ in range(count):
                path = folder / split / label / f"{label}_{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                draw_photo(path, label, number)
                number += 1


def draw_photo(path: Path, label: str, seed: int) -> None:
    """One shape in a saturated colour on a smooth pale ground; the seed decides which."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(120, 235, (5, 6, 1)).astype(np.float32)
    ground = cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC)[..., None]
    tint = rng.uniform(0.92, 1.0, 3)
    canvas: npt.NDArray[np.float32] = np.ascontiguousarray(ground * tint, np.float32)
    colour = [float(one) for one in rng.permutation([200.0, 40.0, 20.0])]
    x, y, r = int(rng.integers(40, 56)), int(rng.integers(32, 40)), int(rng.integers(18, 24))
    if label == "disc":
        cv2.circle(canvas, (x, y), r, colour, -1, cv2.LINE_AA)
    else:
        cv2.rectangle(canvas, (x - r, y - r + 4), (x + r, y + r - 4), colour, -1)
    grain = rng.normal(0, 2, canvas.shape)
    Image.fromarray(np.clip(canvas + grain, 0, 255).astype(np.uint8)).save(path)


def computed(summary: Mapping[str, Any]) -> dict[str, int]:
    """Per stage what a run computed, stages that computed nothing left out."""
    counts = {stage: count["computed"] for stage, count in summary["stages"].items()}
    return {stage: count for stage, count in counts.items() if count}


def present(summary: Mapping[str, Any]) -> dict[str, int]:
    """Per stage what a run computed or found done."""
    stages: dict[str, dict[str, int]] = summary["stages"]
    return {stage: count["computed"] + count["cached"] for stage, count in stages.items()}


def files_of(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def manifest_of(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's manifest."""
    rows: list[dict[str, Any]] = pq.read_table(out / "manifest.parquet").to_pylist()
    return rows


def records_of(store: Path) -> dict[str, tuple[int, int]]:
    """Every record of a local store with its inode and its time of writing (ns)."""
    return {
        path.relative_to(store).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in store.glob("*/??/*.record")
    }


def child_runs(since: datetime) -> list[str]:
    """The names of the references for which a child run was started since then."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterStartTime,
    )

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["generate_item"])),
            flow_run_filter=FlowRunFilter(start_time=FlowRunFilterStartTime(after_=since)),
        )
    return sorted(run.name.partition(" ")[0] for run in runs)


def now() -> datetime:
    """This moment, for `child_runs`."""
    return datetime.now(UTC)
