"""What the wrappers take on top of the networks that they wrap, on this machine's CPU.

Both times are CPU times of the same run, the machine being shared: a clock runs while a network
computes, and what is left is the wrapper's own work: resizing, batching, sampling steps, noise,
pasting and bytes. Goal: under 3 % of the network's time at tiny, where a network takes milliseconds
and the rest shows in full; at larger sizes it is stated.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.diffusion_setting import FULL, Setting, Sizes, without_reports
from benchmarks.diffusion_stages import STAGES
from benchmarks.machine import table
from models.runtime.hardware import Machine

GOAL = 0.03
# By which a network is asked for its work, so that the clock also sees what has no ``forward``.
ENTRANCES = ("forward", "encode", "decode", "generate", "finest")
# The networks that a CPU gets through at their published sizes in seconds; sides are the photo's.
WHOLE = ("upscale", "segment", "depth", "caption")
# The sizes of real pictures with tiny networks: what the wrapper does grows, the network hardly.
REAL = replace(FULL, steps={"background": 4, "outpaint": 4, "multiview": 4})


@dataclass(frozen=True)
class Overhead:
    """Seconds a result within the networks and in all."""

    stage: str
    networks_s: float
    all_s: float

    @property
    def share(self) -> float:
        """The wrapper's own time as a share of the networks'."""
        return self.all_s / self.networks_s - 1


class Clock:
    """Adds up the time within the entrances of networks, of nested ones only the outermost."""

    def __init__(self) -> None:
        self.spent = 0.0
        self._depth = 0

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            self._depth += 1
            started = time.thread_time()
            try:
                return work(*given, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.spent += time.thread_time() - started

        return timed


@contextmanager
def clocked(modules: Sequence[Any]) -> Iterator[Clock]:
    """A clock on the networks while it is entered."""
    clock = Clock()
    wound = [(module, name) for module in modules for name in ENTRANCES if hasattr(module, name)]
    for module, name in wound:
        object.__setattr__(module, name, clock.around(getattr(module, name)))
    try:
        yield clock
    finally:
        for module, name in wound:
            object.__delattr__(module, name)


def measure(
    setting: Setting, names: Sequence[str], count: int = 4, repeats: int = 3
) -> list[Overhead]:
    """The stages' wrappers; of the repeats, the median share.

    Args:
        setting: sizes and folder; one image at a time, as on any CPU.
        names: stages.
        count: results per run.
        repeats: runs, after one that is not timed.
    """
    found = []
    for stage in STAGES:
        if stage.name not in names:
            continue
        loaded = stage.ours(setting)
        requests = stage.requests(setting, count)
        list(loaded.compute(requests[:1]))
        runs = []
        for _ in range(repeats):
            with clocked(loaded.modules) as clock:
                started = time.thread_time()
                list(loaded.compute(requests))
                whole = time.thread_time() - started
            runs.append(Overhead(stage.name, clock.spent / count, whole / count))
        middle = statistics.median_low(run.share for run in runs)
        found.append(next(run for run in runs if run.share == middle))
    return found


def main(folder: Path) -> None:
    """Print the table: tiny, tiny widths at real sizes, and published networks."""
    torch.set_num_threads(1)
    without_reports()
    cpu = Machine(torch.device("cpu"), torch.float32)
    everything = [stage.name for stage in STAGES]
    tiny = measure(Setting(folder, cpu, tiny=True), everything)
    real = measure(_Real(folder, cpu, tiny=True), everything, count=2, repeats=2)
    whole = measure(Setting(folder, cpu, tiny=False), WHOLE, count=1, repeats=2)
    by_stage = [{one.stage: one for one in column} for column in (tiny, real, whole)]
    print(table(
        ["stage", "tiny ms", "on top", "tiny, real sizes ms", "on top", "published ms", "on top"],
        [[name, *(cell for column in by_stage for cell in _cells(column.get(name)))]
         for name in everything],
    ))  # fmt: skip
    print(f"\n{_verdict(tiny, whole)}")


def _verdict(tiny: Sequence[Overhead], whole: Sequence[Overhead]) -> str:
    least, most = (choose(tiny, key=lambda one: one.share) for choose in (min, max))
    within = [one.stage for one in tiny if one.share < GOAL]
    met = (
        "met" if len(within) == len(tiny) else f"missed by {len(tiny) - len(within)} of {len(tiny)}"
    )
    large = max(whole, key=lambda one: one.share)
    return (
        f"**Tiny: a wrapper takes {least.share:.1%} ({least.stage}) to {most.share:.1%} "
        f"({most.stage}) on top of its network; the goal of {GOAL:.0%} is {met}.** At the "
        f"published sizes that a CPU gets through, it takes {large.share:.1%} at most "
        f"({large.stage})."
    )


class _Real(Setting):
    """Tiny networks on pictures of the real sizes."""

    @property
    def sizes(self) -> Sizes:
        return REAL


def _cells(one: Overhead | None) -> list[str]:
    return ["-", "-"] if one is None else [f"{1e3 * one.networks_s:.1f}", f"{one.share:.1%}"]
