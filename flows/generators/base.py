"""What a generator is: settings, and one to three phases that are plain functions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.data.records import Artifact, Record, SourceImage
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.settings.placing import PlaceObjects

# A phase calls stages; in a planning run they return placeholders, so a phase must not look into
# the contents of artifacts.
PhaseFunction = Callable[[RunContext | PlanningRun, Any, WorkItem, SharedInputs], list[Artifact]]

# Settings, the sources of a work item, and what earlier phases made by class -> its inputs.
ChooseInputs = Callable[
    [Any, Sequence[SourceImage], Mapping[str, Sequence[Artifact]]], tuple[Artifact, ...]
]


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
        choose_inputs: chooses what a work item gets of earlier phases; None: all that they made
            for its classes.
        only_wanted: a class that gets no images has no work item.
    """

    name: str
    unit: Literal["image", "class", "shard"]
    run: PhaseFunction
    shard_size: int = 1
    choose_inputs: ChooseInputs | None = None
    only_wanted: bool = False


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
        classes: from the settings, the classes that get images; none listed: all.
        needs: what the photos must have, ``boxes`` or ``masks``; checked before anything runs.
        needs_of: from the settings, what the photos must have too.
        of_one_object: from the settings, whether its images show the one object of a photo, so that
            it can't use scenes.
        placing: from the settings, where new objects go in photos; None if it paints into none.
            With it, photos of `PlaceObjects.scene_classes` are scenes for objects of ``classes``.
    """

    name: str
    settings: type[Record]
    phases: tuple[Phase, ...]
    factors: Callable[[Any], tuple[Factor, ...]]
    needs: frozenset[str] = frozenset()
    needs_of: Callable[[Any], frozenset[str]] = lambda _settings: frozenset()
    of_one_object: Callable[[Any], bool] = lambda _: False
    classes: Callable[[Any], tuple[str, ...]] = lambda _: ()
    placing: Callable[[Any], PlaceObjects | None] = lambda _: None

    @property
    def learns(self) -> bool:
        """Whether it first learns a class from all its photos, and then makes images of it."""
        return len(self.phases) > 1 and self.phases[-1].unit in ("class", "shard")

    def phase(self, name: str) -> Phase:
        """The phase of that name."""
        return next(phase for phase in self.phases if phase.name == name)

    def makes_objects_of(self, settings: Any, label: str) -> bool:
        """Whether images show objects of a class, of whatever photos they are made."""
        wanted = self.classes(settings)
        return not wanted or label in wanted

    def makes_images_of(self, settings: Any, label: str) -> bool:
        """Whether photos of a class get images."""
        placing = self.placing(settings)
        return placing.is_scene((label,)) if placing else self.makes_objects_of(settings, label)

    def makes_images_for(self, settings: Any, labels: Iterable[str]) -> bool:
        """Whether a work item of the last phase, whose photos show these classes, gives images.

        The photos of a shard are scenes for objects of other photos, so that each shard has some.
        """
        is_shard = self.phases[-1].unit == "shard"
        return is_shard or any(self.makes_images_of(settings, label) for label in labels)

    @property
    def is_per_photo(self) -> bool:
        """Whether each image is made of one photo, whatever the other photos are."""
        return all(phase.unit == "image" and phase.choose_inputs is None for phase in self.phases)

    def is_last(self, phase: Phase) -> bool:
        """Whether the phase returns the finished images."""
        return phase == self.phases[-1]
