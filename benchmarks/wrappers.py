"""Measures the CPU time of the wrappers of networks in addition to the networks' own.

Both times are of the same run. A clock runs while a network computes. The rest is the wrapper's
work: resizing, batching, sampling steps, noise, pasting and conversion to bytes. The goal is less
than 3 % of the network's time with tiny networks, which take milliseconds.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.diffusion_setting import FULL, Setting, Sizes, silence_libraries
from benchmarks.diffusion_stages import STAGES
from benchmarks.machine import table
from models.runtime.hardware import Machine

GOAL = 0.03
# Methods that start a computation; not all networks are called through ``forward``.
METHODS = ("forward", "encode", "decode", "generate", "finest")
# A CPU computes these networks at their published sizes in seconds.
PUBLISHED = ("upscale", "segment", "depth", "caption")
# The sizes of real images, for tiny networks.
REAL = replace(FULL, steps={"background": 4, "outpaint": 4, "multiview": 4})


@dataclass(frozen=True)
class Overhead:
    """Seconds per result in the networks, and in total."""

    stage: str
    networks_s: float
    total_s: float

    @property
    def share(self) -> float:
        """The wrapper's own time, as a share of the networks' time."""
        return self.total_s / self.networks_s - 1


class Clock:
    """Sums the time in methods of networks; of nested calls only the outermost counts."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added to the clock."""

        def timed(*arguments: Any, **options: Any) -> Any:
            self._depth += 1
            started = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.thread_time() - started

        return timed


@contextmanager
def clocked(modules: Sequence[Any]) -> Iterator[Clock]:
    """Measure the time of the networks inside the context."""
    clock = Clock()
    methods = [(module, name) for module in modules for name in METHODS if hasattr(module, name)]
    for module, name in methods:
        object.__setattr__(module, name, clock.wrap(getattr(module, name)))
    try:
        yield clock
    finally:
        for module, name in methods:
            object.__delattr__(module, name)


def measure(
    setting: Setting, names: Sequence[str], count: int = 4, repeats: int = 3
) -> list[Overhead]:
    """Measure the wrappers of stages; return the run with the median share.

    Args:
        setting: sizes and folder; the batch size is 1, as on any CPU.
        names: names of stages.
        count: results per run.
        repeats: runs, after one that is not timed.
    """
    overheads = []
    for stage in STAGES:
        if stage.name not in names:
            continue
        loaded = stage.synthset(setting)
        requests = stage.requests(setting, count)
        list(loaded.compute(requests[:1]))
        runs = []
        for _ in range(repeats):
            with clocked(loaded.modules) as clock:
                started = time.thread_time()
                list(loaded.compute(requests))
                total_s = time.thread_time() - started
            runs.append(Overhead(stage.name, clock.seconds / count, total_s / count))
        median = statistics.median_low(run.share for run in runs)
        overheads.append(next(run for run in runs if run.share == median))
    return overheads


def main(folder: Path) -> None:
    """Print the table: tiny, tiny widths at real sizes, and published networks."""
    torch.set_num_threads(1)
    silence_libraries()
    cpu = Machine(torch.device("cpu"), torch.float32)
    names = [stage.name for stage in STAGES]
    tiny = measure(Setting(folder, cpu, tiny=True), names)
    real = measure(_RealSizes(folder, cpu, tiny=True), names, count=2, repeats=2)
    published = measure(Setting(folder, cpu, tiny=False), PUBLISHED, count=1, repeats=2)
    by_stage = [
        {overhead.stage: overhead for overhead in column} for column in (tiny, real, published)
    ]
    print(table(
        ["stage", "tiny ms", "rest", "tiny, real sizes ms", "rest", "published ms", "rest"],
        [[name, *(cell for column in by_stage for cell in _cells(column.get(name)))]
         for name in names],
    ))  # fmt: skip
    print(f"\n{_summarize(tiny, published)}")


def _summarize(tiny: Sequence[Overhead], published: Sequence[Overhead]) -> str:
    by_share = sorted(tiny, key=lambda overhead: overhead.share)
    least, most = by_share[0], by_share[-1]
    missed = sum(overhead.share >= GOAL for overhead in tiny)
    result = f"missed by {missed} of {len(tiny)}" if missed else "met"
    largest = max(published, key=lambda overhead: overhead.share)
    return (
        f"**Tiny: the rest is {least.share:.1%} ({least.stage}) to {most.share:.1%} ({most.stage}) "
        f"of the network's time; the goal of {GOAL:.0%} is {result}.** At the published sizes that "
        f"a CPU can compute, it is {largest.share:.1%} at most ({largest.stage})."
    )


class _RealSizes(Setting):
    """Tiny networks on images of the real sizes."""

    @property
    def sizes(self) -> Sizes:
        return REAL


def _cells(overhead: Overhead | None) -> list[str]:
    if overhead is None:
        return ["-", "-"]
    return [f"{1e3 * overhead.networks_s:.1f}", f"{overhead.share:.1%}"]
