"""What `benchmarks.diffusion_gpu` found, as a file and as tables, and whether the goal is met."""

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
    """One way of doing a stage: results per second of its networks, seconds of the whole stage for
    one reference, seconds of the first batch (with compiling), peak GiB, how many results were no
    numbers at first (each of those was computed twice), and seconds until the networks lie on the
    device (by hand also until their random weights are drawn).
    """

    per_s: float
    reference_s: float
    first_s: float
    peak_gib: float
    repeats: int
    load_s: float = 0.0


@dataclass(frozen=True)
class Measured:
    """A stage by hand, by synthset, and by synthset with compiled networks (None: it has none that
    compile, or was not asked to); the TFLOP of a result (None: not the published size).
    """

    stage: str
    count: int
    by_hand: Speed
    eager: Speed
    compiled: Speed | None
    tflop: float | None

    def way(self, name: Way) -> Speed:
        """By that way; what does not compile runs as it is."""
        found: Speed = getattr(self, name) or self.eager
        return found

    @property
    def ours(self) -> Speed:
        """By the faster of our ways."""
        return max((self.eager, self.compiled or self.eager), key=lambda one: one.per_s)

    @property
    def share(self) -> float | None:
        """Of the floor: 1 is all that the GPU could do."""
        return None if self.tflop is None else self.ours.per_s * self.tflop / flops.PEAK


def report(found: Sequence[Measured], device: str) -> str:
    """The table, the reference from end to end, and whether the goal is met."""
    head = [
        *("stage", "by hand/s", "eager/s", "compiled/s", "of the floor"),
        *("by hand GiB", "eager GiB", "compiled GiB", "to compile s", "to load s"),
        *("per reference", "by hand s", "eager s", "compiled s", "computed twice"),
    ]
    lines = [table(head, [_row(one) for one in found]), ""]
    for way, name in WAYS:
        if way == "eager" or any(one.compiled for one in found):
            naive, ours = _reference_s(found, "by_hand"), _reference_s(found, way)
            lines.append(
                f"One reference through these stages, {name}, networks loaded: {naive:.2f} s by "
                f"hand, {ours:.2f} s with synthset ({naive / ours:.2f} times as fast)."
            )
    lines += [
        "Rates are of the networks alone; the seconds of a reference are of the product's stages "
        "from the store to the store, whose work apart from the networks is the same either way.",
        _verdict(found, device),
    ]
    return "\n".join(lines)


def save(path: Path, found: Sequence[Measured], **run: Any) -> None:
    """As JSON: what was run, and the stages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**run, "stages": [asdict(one) for one in found]}
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(paths: Sequence[Path]) -> tuple[list[Measured], str]:
    """The stages of several files, of which later ones replace earlier, and their device.

    Raises:
        ValueError: they are of different devices.
    """
    contents = [json.loads(path.read_text()) for path in paths]
    devices = {content["device"] for content in contents}
    if len(devices) != 1:
        raise ValueError(f"results of different devices don't add up: {', '.join(sorted(devices))}")
    stages = {one["stage"]: _measured(one) for content in contents for one in content["stages"]}
    return list(stages.values()), devices.pop()


def _measured(content: dict[str, Any]) -> Measured:
    ways = ("by_hand", "eager", "compiled")
    speeds = {way: Speed(**content[way]) if content[way] else None for way in ways}
    return Measured(**{**content, **speeds})


def _row(one: Measured) -> list[Any]:
    compiled = one.compiled
    return [
        *(one.stage, one.by_hand.per_s, one.eager.per_s, compiled.per_s if compiled else "-"),
        *("-" if one.share is None else f"{one.share:.0%}", one.by_hand.peak_gib),
        *(one.eager.peak_gib, compiled.peak_gib if compiled else "-"),
        *(
            compiled.first_s if compiled else "-",
            one.eager.load_s,
            one.count,
            one.by_hand.reference_s,
        ),
        *(one.eager.reference_s, compiled.reference_s if compiled else "-", one.ours.repeats),
    ]


def _reference_s(found: Sequence[Measured], way: Way) -> float:
    return sum(one.way(way).reference_s for one in found)


def _verdict(found: Sequence[Measured], device: str) -> str:
    goal = (
        f"Goal: on one {GOAL_DEVICE} at least {GOAL_IMAGES} images/s for SDXL + depth ControlNet "
        f"at 768x1024, 30 steps, and {GOAL_TIMES:.0f}x the naive loop end to end: "
    )
    scenes = next((one for one in found if one.stage == "background"), None)
    if GOAL_DEVICE not in device or scenes is None or scenes.tflop is None:
        return f"{goal}not measured (this was {device})."
    told = []
    for way, name in WAYS:
        per_s = scenes.way(way).per_s
        times = _reference_s(found, "by_hand") / _reference_s(found, way)
        met = "met" if per_s >= GOAL_IMAGES and times >= GOAL_TIMES else "missed"
        if way == "eager" or scenes.compiled:
            told.append(f"{met} {name} with {per_s:.2f} images/s and {times:.2f}x")
    return f"**{goal}{', '.join(told)}.**"
