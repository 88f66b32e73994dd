"""A run that computes nothing: stages return placeholders, and their counts and costs are kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.data.records import Artifact

# Megapixels of a photo whose size is not known, since a plan opens no photo.
PHOTO_MEGAPIXELS = 0.3
# What an H200 computed per second over a whole reference, in float16 and not compiled: 312 in the
# background, 220 in multiview and 222 in outpainting, which take most of the time.
TFLOP_PER_S = 230.0


@dataclass(frozen=True)
class Cost:
    """What one artifact of a stage costs. A plan is an estimate, right to about a factor of two.

    Attributes:
        ms, ms_per_mp: CPU milliseconds per artifact, and per megapixel of it (classical models;
            measured by ``python -m benchmarks stages``).
        mb_per_mp: megabytes in the store per megapixel.
        megapixels: size of an artifact, from the stage's settings and the size of its input.
        reads_all_inputs: whether that size is of all inputs together, and not of the first.
        tflop: per network: trillion operations per artifact, and per megapixel of it (counted by
            ``python -m benchmarks flops`` at the published sizes).
        cpu_ms: from the stage's settings, CPU milliseconds besides those, without a checkpoint.
        repeats: from the stage's settings, how often these operations are done, as in a training.
        megabytes: from the stage's settings, megabytes in the store besides those per megapixel.
    """

    ms: float = 0.0
    ms_per_mp: float = 0.0
    cpu_ms: Callable[[Any], float] = lambda _settings: 0.0
    mb_per_mp: float = 0.0
    megapixels: Callable[[Any, float], float] = lambda _settings, megapixels: megapixels
    reads_all_inputs: bool = False
    tflop: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    repeats: Callable[[Any], float] = lambda _settings: 1.0
    megabytes: Callable[[Any], float] = lambda _settings: 0.0


# CPU milliseconds per megapixel around a network: decode, encode, move to the device and back.
_MS_PER_MP_AROUND_NETWORK = 30.0


@dataclass
class PlannedStage:
    """What a stage would make: artifacts, and what they cost if the store has none of them."""

    version: int
    shown_as: str | None
    artifacts: int = 0
    megabytes: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0


class PlanningRun:
    """Stands in for a `RunContext` where only counts, costs, versions and keys are wanted."""

    def __init__(self) -> None:
        self.made: dict[str, Artifact] = {}
        self.stages: dict[str, PlannedStage] = {}

    def note(
        self,
        name: str,
        version: int,
        shown_as: str | None,
        cost: Cost,
        network: str | None,
        settings: Any,
        placeholders: list[Artifact],
    ) -> list[Artifact]:
        """Add what a stage would make, and give the placeholders the size they would have."""
        planned = self.stages.setdefault(name, PlannedStage(version, shown_as))
        sized = []
        for placeholder in placeholders:
            parents = [self.made[parent] for parent in placeholder.parents if parent in self.made]
            sizes = [float(parent.metadata.get("megapixels", 0.0)) for parent in parents]
            sizes = sizes or [PHOTO_MEGAPIXELS]
            input_size = sum(sizes) if cost.reads_all_inputs else sizes[0]
            megapixels = cost.megapixels(settings, input_size)
            sized.append(placeholder.model_copy(update={"metadata": {"megapixels": megapixels}}))
            planned.artifacts += 1
            planned.megabytes += megapixels * cost.mb_per_mp + cost.megabytes(settings)
            fixed, per_megapixel = cost.ms + cost.cpu_ms(settings), cost.ms_per_mp
            if network is not None:
                fixed, per_megapixel = 0.0, _MS_PER_MP_AROUND_NETWORK
                once, each = cost.tflop.get(network, (0.0, 0.0))
                operations = (once + megapixels * each) * cost.repeats(settings)
                planned.gpu_seconds += operations / TFLOP_PER_S
            planned.cpu_seconds += (fixed + megapixels * per_megapixel) / 1e3
        self.made.update((placeholder.id, placeholder) for placeholder in sized)
        return sized

    def add(self, other: "PlanningRun", times: int) -> None:
        """Add the stages of another plan, ``times`` over."""
        for name, found in other.stages.items():
            total = self.stages.setdefault(name, PlannedStage(found.version, found.shown_as))
            total.artifacts += found.artifacts * times
            total.megabytes += found.megabytes * times
            total.cpu_seconds += found.cpu_seconds * times
            total.gpu_seconds += found.gpu_seconds * times
