"""What the diffusion profile makes a second on a GPU, against the study's way and the GPU's limit.

Goal: on one H200 at least 1.3 images/s for SDXL + depth ControlNet at 768x1024, 30 steps, and 3x
the naive loop end to end. Each stage runs three ways: its networks by hand, ours, and ours with
compiled blocks. Weights are random and nothing is fetched: it says nothing of pictures.

``python -m benchmarks.diffusion_gpu --tiny`` runs the same on a CPU, to show that it runs; its
figures say nothing of speed.
"""

import argparse
import gc
import logging
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import flops
from benchmarks.diffusion_report import Measured, Speed, load, report, save
from benchmarks.diffusion_setting import REFERENCE, Loaded, Loader, Setting, timed, without_reports
from benchmarks.diffusion_stages import STAGES, StageOf
from benchmarks.diffusion_work import seconds
from flows.config.recipe import load_recipe
from flows.generators.catalog import find_generator
from flows.planning import plan_generator
from models.runtime.compile import is_compiled
from models.runtime.hardware import DTYPES, Machine, describe_gpu

BATCHES = 2
_started = time.monotonic()


def measure(
    setting: Setting,
    stages: Sequence[StageOf] = STAGES,
    by_hand: int = 2,
    reference: Mapping[str, int] | None = None,
    compiler: str | None = None,
) -> list[Measured]:
    """Every stage, one after another, alone on the device.

    Args:
        setting: sizes, device and folder.
        stages: which.
        by_hand: results to time the naive loop by.
        reference: results per stage for one photo; by default `counts_of_a_reference`.
        compiler: backend for a third way with compiled networks; None: without.
    """
    counts = reference or counts_of_a_reference()
    costs = [] if setting.tiny else flops.results(flops.forwards())
    found = []
    for stage in stages:
        count, many = counts[stage.name], BATCHES * setting.machine.batch
        naive = _speed(stage, stage.by_hand, setting, by_hand, count, "by hand")
        eager = _speed(stage, stage.ours, setting, many, count, "eager")
        assert naive
        assert eager
        compiled = None
        if compiler is not None:
            machine = replace(setting.machine, compile=True, compiler=compiler)
            compiling = replace(setting, machine=machine)
            compiled = _speed(stage, stage.ours, compiling, many, count, "compiled")
        tflop = next((one.tflop for one in costs if one.stage.startswith(stage.counted)), None)
        found.append(Measured(stage.name, count, naive, eager, compiled, tflop))
    return found


def counts_of_a_reference() -> dict[str, int]:
    """Results per stage for one photo of the recipe ``multiview`` with one copy and one scene."""
    recipe, generator = load_recipe("multiview", list(REFERENCE)), find_generator("multiview")
    settings = recipe.generators[generator.name]
    planned, _ = plan_generator(generator, settings, 1, 1, recipe.resize)
    counts = {stage: found.artifacts for stage, found in planned.stages.items()}
    # The plan counts the photo and its views together.
    counts["upscale_views"] = counts["upscale"] - 1
    # A sheet is one result, whatever the number of its views.
    return {**counts, "upscale": 1, "multiview": 1}


def _speed(
    stage: StageOf, by: Loader, setting: Setting, many: int, count: int, way: str
) -> Speed | None:
    """Load, run all shapes once, then time ``many`` results of the networks, and the stage with
    the results of a reference. None: compiled is asked for, and these networks don't compile.
    """
    _tell(f"{stage.name}, {way}: loading")
    device = setting.machine.device
    started = time.perf_counter()
    loaded = by(setting)
    load_s = time.perf_counter() - started
    compiles = is_compiled(loaded.modules)
    if setting.machine.compile and not compiles:
        return None
    _forget(device)
    requests = stage.requests(setting, many)
    first = requests[: 1 if way == "by hand" else setting.machine.batch]
    with _counted_repeats() as repeats:
        first_s = _timed(loaded, first, device)
        _tell(f"{stage.name}, {way}: first {len(first)} in {first_s:.1f} s")
        # What is compiled is compiled here for all shapes of a reference; else this only wakes up
        # what else the stage does.
        seconds(stage.work, loaded, setting, count if compiles else min(stage.least, count))
        per_s = many / _timed(loaded, requests, device)
        _tell(f"{stage.name}, {way}: {per_s:.2f} results/s")
        reference_s = seconds(stage.work, loaded, setting, count)
        _tell(f"{stage.name}, {way}: {count} for a reference in {reference_s:.1f} s")
    speed = Speed(per_s, reference_s, first_s, _peak_gib(device), len(repeats), load_s)
    del loaded
    _forget(device)
    return speed


def _timed(loaded: Loaded, requests: Sequence[object], device: torch.device) -> float:
    return timed(lambda: list(loaded.compute(requests)), device)


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
    """Peaks count from here: what lies on the device now is weights."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak_gib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def _tell(what: str) -> None:
    print(f"{time.monotonic() - _started:6.0f} s  {what}", flush=True)


def main(folder: Path, given: Sequence[str] = ()) -> None:
    """Measure on the first GPU; without one, or with ``--tiny``, at tiny sizes."""
    asked = _parser().parse_args(list(given))
    if asked.report:
        print(report(*load(asked.report)))
        return
    without_reports()
    gpu = torch.cuda.is_available()
    tiny = asked.tiny or not gpu
    machine = Machine(
        torch.device("cuda:0" if gpu else "cpu"),
        DTYPES[asked.dtype] if gpu and not tiny else torch.float32,
        batch=asked.batch,
    )
    stages = [stage for stage in STAGES if stage.name in asked.stages]
    device, dtype = describe_gpu() or "a CPU", str(machine.dtype).removeprefix("torch.")
    size = "tiny sizes, which say nothing of speed" if tiny else "published sizes"
    print(f"{device}, {dtype}, batch {machine.batch}, {size}\n")
    setting = Setting(asked.weights or folder, machine, tiny)
    compiler = None if asked.eager else asked.compiler or ("inductor" if gpu else "eager")
    found: list[Measured] = []
    failed = []
    for stage in stages:
        try:
            found += measure(setting, [stage], asked.by_hand, compiler=compiler)
        except Exception:
            # The others are measured still: a GPU is too dear to be asked twice.
            traceback.print_exc()
            failed.append(stage.name)
        # After each stage, so that a run that is cut off leaves what it has found.
        save(asked.json, found, device=device, dtype=dtype, batch=machine.batch, tiny=tiny)
    print(f"\n{report(found, device)}\n\nWritten to {asked.json}")
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}; the reason is above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusion_gpu", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="Tiny networks and sizes, two steps.")
    parser.add_argument("--eager", action="store_true", help="Leave out what is compiled.")
    parser.add_argument("--compiler", help="Backend of torch.compile (on a CPU: eager).")
    parser.add_argument("--batch", type=int, default=8, help="Images at a time.")
    parser.add_argument("--by-hand", type=int, default=3, help="Results to time the loop by.")
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="float16")
    names = [stage.name for stage in STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names, metavar="STAGE")
    parser.add_argument("--weights", type=Path, help="Folder for the weights, kept (20 GB in all).")
    parser.add_argument("--json", type=Path, default=Path("diffusion_gpu.json"))
    parser.add_argument(
        "--report", type=Path, nargs="+", metavar="JSON", help="Only add up what earlier runs found"
    )
    return parser


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory(prefix="synthset-weights-") as weights:
        main(Path(weights), sys.argv[1:])
