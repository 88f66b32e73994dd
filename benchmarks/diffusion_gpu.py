"""What the diffusion profile makes a second on a GPU, against the study's way and the GPU's limit.

Goal: on one H200 at least 1.3 images/s for SDXL + depth ControlNet at 768x1024, 30 steps, and 3x
the naive loop end to end. Weights are random and nothing is fetched: it says nothing of pictures.

``python -m benchmarks.diffusion_gpu --tiny`` runs the same on a CPU in seconds, to show that it
runs; its figures say nothing of speed.
"""

import argparse
import gc
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import flops
from benchmarks.diffusion_setting import Loaded, Setting, without_reports
from benchmarks.diffusion_stages import STAGES, StageOf
from benchmarks.machine import table
from flows.plan import volumes
from flows.recipe import load_recipe
from models.hardware import DTYPES, Machine, describe_gpu

GOAL_IMAGES, GOAL_TIMES, GOAL_DEVICE = 1.3, 3.0, "H200"
# Per photo: seven views, one scene of each, and its four shifts.
REFERENCE = ("augment.copies=1", "background.copies=1", "outpaint.k=2")
BATCHES = 2


@dataclass(frozen=True)
class Speed:
    """One way of doing a stage: results per second, seconds for one reference, peak GiB, and how
    many results were no numbers at first (each of those was computed twice).
    """

    per_s: float
    reference_s: float
    peak_gib: float
    repeats: int


@dataclass(frozen=True)
class Measured:
    """A stage by hand and by synthset, and the TFLOP of a result (None: not the published size)."""

    stage: str
    count: int
    by_hand: Speed
    ours: Speed
    tflop: float | None

    @property
    def times(self) -> float:
        """How many times as fast as by hand."""
        return self.ours.per_s / self.by_hand.per_s

    @property
    def share(self) -> float | None:
        """Of the floor: 1 is all that the GPU could do."""
        return None if self.tflop is None else self.ours.per_s * self.tflop / flops.PEAK


def measure(
    setting: Setting,
    stages: Sequence[StageOf] = STAGES,
    by_hand: int = 2,
    reference: Mapping[str, int] | None = None,
) -> list[Measured]:
    """Every stage, one after another, alone on the device.

    Args:
        setting: sizes, device and folder.
        stages: which.
        by_hand: results to time the naive loop by.
        reference: results per stage for one photo; by default `counts_of_a_reference`.
    """
    counts = reference or counts_of_a_reference()
    costs = [] if setting.tiny else flops.results(flops.forwards())
    found = []
    for stage in stages:
        count = counts[stage.name]
        many = BATCHES * setting.machine.batch
        naive = _speed(stage.by_hand, setting, by_hand, 1, count)
        ours = _speed(stage.ours, setting, many, setting.machine.batch, count)
        tflop = next((one.tflop for one in costs if one.stage.startswith(stage.counted)), None)
        found.append(Measured(stage.name, count, naive, ours, tflop))
        print(f"{stage.name}: {naive.per_s:.2f} -> {ours.per_s:.2f} results/s", flush=True)
    return found


def counts_of_a_reference() -> dict[str, int]:
    """Results per stage for one photo of the recipe ``multiview`` with one copy and one scene."""
    counts: dict[str, int] = {}
    for stage, count, _ in volumes(load_recipe("multiview", list(REFERENCE))):
        counts[f"{stage}_views" if stage in counts else stage] = count
    # A sheet is one result, whatever the number of its views.
    return {**counts, "multiview": 1}


def report(found: Sequence[Measured], device: str) -> str:
    """The table, the reference from end to end, and whether the goal is met."""
    rows = [
        [
            *(one.stage, one.by_hand.per_s, one.ours.per_s, one.times, _percent(one.share)),
            *(one.by_hand.peak_gib, one.ours.peak_gib, one.count, one.ours.repeats),
        ]
        for one in found
    ]
    head = ["stage", "by hand/s", "ours/s", "times", "of the floor", "GiB by hand", "GiB ours"]
    naive, ours = (
        sum(getattr(one, way).reference_s for one in found) for way in ("by_hand", "ours")
    )
    lines = [
        table([*head, "per reference", "computed twice"], rows),
        f"\nOne reference, networks loaded: {naive:.2f} s by hand, {ours:.2f} s with synthset "
        f"({naive / ours:.2f} times as fast).",
        _verdict(found, naive / ours, device),
    ]
    return "\n".join(lines)


def _verdict(found: Sequence[Measured], times: float, device: str) -> str:
    goal = (
        f"Goal: on one {GOAL_DEVICE} at least {GOAL_IMAGES} images/s for SDXL + depth ControlNet "
        f"at 768x1024, 30 steps, and {GOAL_TIMES:.0f}x the naive loop end to end: "
    )
    scenes = next((one for one in found if one.stage == "background"), None)
    if GOAL_DEVICE not in device or scenes is None or scenes.tflop is None:
        return f"{goal}not measured (this was {device})."
    per_s = scenes.ours.per_s
    met = per_s >= GOAL_IMAGES and times >= GOAL_TIMES
    return f"**{goal}{'met' if met else 'missed'}** with {per_s:.2f} images/s and {times:.2f}x."


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _speed(load: Any, setting: Setting, many: int, first: int, reference: int) -> Speed:
    """Warm up with ``first`` results, then time ``many``, and those of a reference."""
    _forget(setting.machine.device)
    loaded: Loaded = load(setting)
    with _counted_repeats() as repeats:
        _timed(loaded, first, setting)
        per_s = many / _timed(loaded, many, setting)
        reference_s = _timed(loaded, reference, setting)
    peak = _peak_gib(setting.machine.device)
    del loaded
    _forget(setting.machine.device)
    return Speed(per_s, reference_s, peak, len(repeats))


def _timed(loaded: Loaded, count: int, setting: Setting) -> float:
    on_gpu = setting.machine.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(setting.machine.device)
    started = time.perf_counter()
    loaded.run(count)
    if on_gpu:
        torch.cuda.synchronize(setting.machine.device)
    return time.perf_counter() - started


@contextmanager
def _counted_repeats() -> Iterator[list[str]]:
    """What was computed again in float32, which random weights may cause and which takes time."""
    said: list[str] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "not finite" in record.getMessage():
                said.append(record.getMessage())

    log, note = logging.getLogger("synthset.models"), Note()
    log.addHandler(note)
    try:
        yield said
    finally:
        log.removeHandler(note)


def _forget(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak_gib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def main(folder: Path, given: Sequence[str] = ()) -> None:
    """Measure on the first GPU; without one, or with ``--tiny``, at tiny sizes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusion_gpu", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="Tiny networks and sizes, two steps.")
    parser.add_argument("--compile", action="store_true", help="Compile what runs many steps.")
    parser.add_argument("--batch", type=int, default=8, help="Images at a time.")
    parser.add_argument("--by-hand", type=int, default=3, help="Results to time the loop by.")
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="float16")
    names = [stage.name for stage in STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names, metavar="STAGE")
    asked = parser.parse_args(list(given))
    without_reports()
    gpu = torch.cuda.is_available()
    tiny = asked.tiny or not gpu
    machine = Machine(
        torch.device("cuda:0" if gpu else "cpu"),
        DTYPES[asked.dtype] if gpu and not tiny else torch.float32,
        batch=asked.batch,
        compile=asked.compile and gpu,
    )
    stages = [stage for stage in STAGES if stage.name in asked.stages]
    device = describe_gpu() or "a CPU"
    size = "tiny sizes, which say nothing of speed" if tiny else "published sizes"
    print(f"{device}, {str(machine.dtype).removeprefix('torch.')}, batch {machine.batch}, {size}\n")
    found = measure(Setting(folder, machine, tiny), stages, asked.by_hand)
    print(f"\n{report(found, device)}")


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory(prefix="synthset-weights-") as weights:
        main(Path(weights), sys.argv[1:])
