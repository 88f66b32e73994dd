"""Writes the figures of `benchmarks.diffusion_gpu` to a file and as tables, and checks the goal."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import flops
from benchmarks.machine import table

GOAL_IMAGES, GOAL_TIMES, GOAL_DEVICE = 1.3, 3.0, "H200"
Way = Literal["by_hand", "eager", "compiled"]
WAYS: tuple[tuple[Way, str], ...] = (("eager", "eager"), ("compiled", "compiled"))


@dataclass(frozen=True)
class Speed:
    """The speed of a stage, run in one way.

    ``per_s`` is results per second of its networks, and ``reference_s`` seconds of the whole stage
    for a reference. ``first_s`` is seconds of the first batch, with compilation. ``repeats`` counts
    results that were not finite and were computed twice. ``load_s`` is seconds until the networks
    are on the device; by hand this includes drawing random weights.
    """

    per_s: float
    reference_s: float
    first_s: float
    peak_gib: float
    repeats: int
    load_s: float = 0.0


@dataclass(frozen=True)
class Measured:
    """A stage by hand, by synthset (eager), and by synthset with compiled networks.

    ``compiled`` is None if nothing was compiled. ``tflop`` is that of one result; None: the size is
    not the published one.
    """

    stage: str
    count: int
    by_hand: Speed
    eager: Speed
    compiled: Speed | None
    tflop: float | None

    def way(self, name: Way) -> Speed:
        """Return the speed of that way; networks that don't compile run eagerly."""
        speed: Speed = getattr(self, name) or self.eager
        return speed

    @property
    def faster(self) -> Speed:
        """The faster of eager and compiled."""
        return max((self.eager, self.compiled or self.eager), key=lambda speed: speed.per_s)

    @property
    def share(self) -> float | None:
        """The share of the GPU's limit that the networks reach, 0..1."""
        return None if self.tflop is None else self.faster.per_s * self.tflop / flops.PEAK


def report(stages: Sequence[Measured], device: str) -> str:
    """Return the table, the seconds of a reference from end to end, and whether the goal is met."""
    head = [
        *("stage", "by hand/s", "eager/s", "compiled/s", "of the floor"),
        *("by hand GiB", "eager GiB", "compiled GiB", "to compile s", "to load s"),
        *("per reference", "by hand s", "eager s", "compiled s", "computed twice"),
    ]
    lines = [table(head, [_row(stage) for stage in stages]), ""]
    for way, name in WAYS:
        if way == "eager" or any(stage.compiled for stage in stages):
            naive_s, reference_s = _reference_s(stages, "by_hand"), _reference_s(stages, way)
            lines.append(
                f"One reference through these stages, {name}, networks loaded: {naive_s:.2f} s by "
                f"hand, {reference_s:.2f} s with synthset ({naive_s / reference_s:.2f} times as "
                "fast)."
            )
    lines += [
        "Rates are of the networks alone. The seconds of a reference are of the product's stages "
        "on a store, with everything that they do.",
        _check_goal(stages, device),
    ]
    return "\n".join(lines)


def save(path: Path, stages: Sequence[Measured], **run: Any) -> None:
    """Write the options of the run and the stages as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**run, "stages": [asdict(stage) for stage in stages]}
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(paths: Sequence[Path]) -> tuple[list[Measured], str]:
    """Return the stages of several files, and their device; later files replace earlier ones.

    Raises:
        ValueError: the files are of different devices.
    """
    contents = [json.loads(path.read_text()) for path in paths]
    devices = {content["device"] for content in contents}
    if len(devices) != 1:
        raise ValueError(f"results are of different devices: {', '.join(sorted(devices))}")
    stages = {
        stage["stage"]: _measured(stage) for content in contents for stage in content["stages"]
    }
    return list(stages.values()), devices.pop()


def _measured(content: dict[str, Any]) -> Measured:
    ways = ("by_hand", "eager", "compiled")
    speeds = {way: Speed(**content[way]) if content[way] else None for way in ways}
    return Measured(**{**content, **speeds})


def _row(stage: Measured) -> list[Any]:
    compiled = stage.compiled
    return [
        *(stage.stage, stage.by_hand.per_s, stage.eager.per_s, compiled.per_s if compiled else "-"),
        *("-" if stage.share is None else f"{stage.share:.0%}", stage.by_hand.peak_gib),
        *(stage.eager.peak_gib, compiled.peak_gib if compiled else "-"),
        *(
            compiled.first_s if compiled else "-",
            stage.eager.load_s,
            stage.count,
            stage.by_hand.reference_s,
        ),
        *(stage.eager.reference_s, compiled.reference_s if compiled else "-", stage.faster.repeats),
    ]


def _reference_s(stages: Sequence[Measured], way: Way) -> float:
    return sum(stage.way(way).reference_s for stage in stages)


def _check_goal(stages: Sequence[Measured], device: str) -> str:
    goal = (
        f"Goal: on one {GOAL_DEVICE} at least {GOAL_IMAGES} images/s for SDXL + depth ControlNet "
        f"at 768x1024, 30 steps, and {GOAL_TIMES:.0f}x the naive loop end to end: "
    )
    background = next((stage for stage in stages if stage.stage == "background"), None)
    if GOAL_DEVICE not in device or background is None or background.tflop is None:
        return f"{goal}not measured (this was {device})."
    results = []
    for way, name in WAYS:
        per_s = background.way(way).per_s
        times = _reference_s(stages, "by_hand") / _reference_s(stages, way)
        met = "met" if per_s >= GOAL_IMAGES and times >= GOAL_TIMES else "missed"
        if way == "eager" or background.compiled:
            results.append(f"{met} {name} with {per_s:.2f} images/s and {times:.2f}x")
    return f"**{goal}{', '.join(results)}.**"
