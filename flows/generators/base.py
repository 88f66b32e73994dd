"""What a generator is: settings, and one to three phases that are plain functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from models.data.records import Artifact, Record
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem

# A phase calls stages; in a planning run they return placeholders, so a phase must not look into
# the contents of artifacts.
PhaseFunction = Callable[[RunContext | PlanningRun, Any, WorkItem, SharedInputs], list[Artifact]]


@dataclass(frozen=True)
class Phase:
    """A part of a generator whose work items are independent of one another.

    Attributes:
        name: names the phase in flow runs.
        unit: what a work item holds: one reference image, all references of a class, or a shard of
            `shard_size` references.
        run: calls stages, top to bottom, as the figure of the paper does. The last phase returns
            finished images; an earlier one returns what the next phases need.
        shard_size: references of a shard.
    """

    name: str
    unit: Literal["image", "class", "shard"]
    run: PhaseFunction
    shard_size: int = 1


@dataclass(frozen=True)
class Generator:
    """A way to make images from reference images.

    A finished image is an RGB or RGBA artifact. Its metadata may list ``objects`` (label, box,
    mask); without it the alpha channel is the mask of the one object of the item's class; without
    alpha the image has a label alone.

    Attributes:
        name: the name in recipes, samples and reports.
        settings: the section of a recipe.
        phases: in the order in which they run.
        factors: from the settings, the factors whose product is the number of images per photo.
        needs: what the photos must have, ``boxes`` or ``masks``; checked before anything runs.
        needs_of: from the settings, what the photos must have too.
    """

    name: str
    settings: type[Record]
    phases: tuple[Phase, ...]
    factors: Callable[[Any], tuple[Factor, ...]]
    needs: frozenset[str] = frozenset()
    needs_of: Callable[[Any], frozenset[str]] = lambda _settings: frozenset()

    def phase(self, name: str) -> Phase:
        """The phase of that name."""
        return next(phase for phase in self.phases if phase.name == name)

    def is_last(self, phase: Phase) -> bool:
        """Whether the phase returns the finished images."""
        return phase == self.phases[-1]
