"""Measures the stages of the diffusion profile on a GPU: by hand, eager and compiled.

The goal on one H200 is 1.3 images/s for SDXL + depth ControlNet at 768x1024 with 30 steps, and 3
times the naive loop end to end. Weights are random, and nothing is downloaded, so images show
nothing.

``python -m benchmarks.diffusion_gpu --tiny`` runs tiny networks on a CPU as a check of this script;
its figures say nothing of speed.
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
from benchmarks.diffusion_setting import (
    REFERENCE,
    Loaded,
    Loader,
    Setting,
    silence_libraries,
    timed,
)
from benchmarks.diffusion_stages import STAGES, StageCase
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
    stages: Sequence[StageCase] = STAGES,
    by_hand: int = 2,
    reference: Mapping[str, int] | None = None,
    compiler: str | None = None,
) -> list[Measured]:
    """Measure stages one after another, each alone on the device.

    Args:
        setting: sizes, device and folder.
        stages: the stages.
        by_hand: number of results for the naive loop.
        reference: results per stage for one photo; None: those of `count_results`.
        compiler: backend of torch.compile; None: no compiled networks.
    """
    counts = reference or count_results()
    costs = [] if setting.tiny else flops.results(flops.forwards())
    measured = []
    for stage in stages:
        count, many = counts[stage.name], BATCHES * setting.machine.batch
        naive = _speed(stage, stage.by_hand, setting, by_hand, count, "by hand")
        eager = _speed(stage, stage.synthset, setting, many, count, "eager")
        assert naive
        assert eager
        compiled = None
        if compiler is not None:
            machine = replace(setting.machine, compile=True, compiler=compiler)
            compiling = replace(setting, machine=machine)
            compiled = _speed(stage, stage.synthset, compiling, many, count, "compiled")
        tflop = next((cost.tflop for cost in costs if cost.stage.startswith(stage.result)), None)
        measured.append(Measured(stage.name, count, naive, eager, compiled, tflop))
    return measured


def count_results() -> dict[str, int]:
    """Count results per stage for a photo of the recipe ``multiview``, one copy, one scene."""
    recipe, generator = load_recipe("multiview", list(REFERENCE)), find_generator("multiview")
    settings = recipe.generators[generator.name]
    planned, _ = plan_generator(generator, settings, 1, 1, recipe.resize)
    counts = {stage: plan.artifacts for stage, plan in planned.stages.items()}
    # The plan counts the photo among the views.
    counts["upscale_views"] = counts["upscale"] - 1
    # A sheet with all views is one result.
    return {**counts, "upscale": 1, "multiview": 1}


def _speed(
    stage: StageCase, by: Loader, setting: Setting, many: int, count: int, way: str
) -> Speed | None:
    """Measure ``many`` results of the networks, and the stage with the results of a reference.

    Loads the networks, and runs all shapes once before. Returns None if the setting compiles and
    these networks don't.
    """
    _log(f"{stage.name}, {way}: loading")
    device = setting.machine.device
    started = time.perf_counter()
    loaded = by(setting)
    load_s = time.perf_counter() - started
    compiles = is_compiled(loaded.modules)
    if setting.machine.compile and not compiles:
        return None
    _reset_peak(device)
    requests = stage.requests(setting, many)
    first = requests[: 1 if way == "by hand" else setting.machine.batch]
    with _collect_repeats() as repeats:
        first_s = _timed(loaded, first, device)
        _log(f"{stage.name}, {way}: first {len(first)} in {first_s:.1f} s")
        # Compiled networks need all shapes of a reference; others need one call of the stage.
        seconds(stage.work, loaded, setting, count if compiles else min(stage.least, count))
        per_s = many / _timed(loaded, requests, device)
        _log(f"{stage.name}, {way}: {per_s:.2f} results/s")
        reference_s = seconds(stage.work, loaded, setting, count)
        _log(f"{stage.name}, {way}: {count} for a reference in {reference_s:.1f} s")
    speed = Speed(per_s, reference_s, first_s, _peak_gib(device), len(repeats), load_s)
    del loaded
    _reset_peak(device)
    return speed


def _timed(loaded: Loaded, requests: Sequence[object], device: torch.device) -> float:
    return timed(lambda: list(loaded.compute(requests)), device)


@contextmanager
def _collect_repeats() -> Iterator[list[str]]:
    """Collect the warnings about results that were computed again in float32.

    Random weights can cause them, and the repetition takes time.
    """
    messages: list[str] = []

    class RepeatHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "not finite" in record.getMessage():
                messages.append(record.getMessage())

    log, handler = logging.getLogger("synthset.models"), RepeatHandler()
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)


def _reset_peak(device: torch.device) -> None:
    """Restart the measurement of peak memory, while only weights are on the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak_gib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def _log(message: str) -> None:
    print(f"{time.monotonic() - _started:6.0f} s  {message}", flush=True)


def main(folder: Path, arguments: Sequence[str] = ()) -> None:
    """Measure on the first GPU, or at tiny sizes without a GPU or with ``--tiny``."""
    options = _parser().parse_args(list(arguments))
    if options.report:
        print(report(*load(options.report)))
        return
    silence_libraries()
    gpu = torch.cuda.is_available()
    tiny = options.tiny or not gpu
    machine = Machine(
        torch.device("cuda:0" if gpu else "cpu"),
        DTYPES[options.dtype] if gpu and not tiny else torch.float32,
        batch=options.batch,
    )
    stages = [stage for stage in STAGES if stage.name in options.stages]
    device, dtype = describe_gpu() or "a CPU", str(machine.dtype).removeprefix("torch.")
    size = "tiny sizes, which say nothing of speed" if tiny else "published sizes"
    print(f"{device}, {dtype}, batch {machine.batch}, {size}\n")
    setting = Setting(options.weights or folder, machine, tiny)
    compiler = None if options.eager else options.compiler or ("inductor" if gpu else "eager")
    measured: list[Measured] = []
    failed = []
    for stage in stages:
        try:
            measured += measure(setting, [stage], options.by_hand, compiler=compiler)
        except Exception:
            # The other stages are still measured, because time on a GPU is expensive.
            traceback.print_exc()
            failed.append(stage.name)
        # Saved after each stage, so that an interrupted run keeps its figures.
        save(options.json, measured, device=device, dtype=dtype, batch=machine.batch, tiny=tiny)
    print(f"\n{report(measured, device)}\n\nWritten to {options.json}")
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}; the reason is above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusion_gpu", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="Tiny networks and sizes, two steps.")
    parser.add_argument("--eager", action="store_true", help="Measure no compiled networks.")
    parser.add_argument("--compiler", help="Backend of torch.compile (on a CPU: eager).")
    parser.add_argument("--batch", type=int, default=8, help="Images per batch.")
    parser.add_argument("--by-hand", type=int, default=3, help="Results of the loop by hand.")
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="float16")
    names = [stage.name for stage in STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names, metavar="STAGE")
    parser.add_argument("--weights", type=Path, help="Folder for the weights, kept (20 GB in all).")
    parser.add_argument("--json", type=Path, default=Path("diffusion_gpu.json"))
    parser.add_argument(
        "--report",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="Only print the figures of earlier runs.",
    )
    return parser


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory(prefix="synthset-weights-") as weights:
        main(Path(weights), sys.argv[1:])
