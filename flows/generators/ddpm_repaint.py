"""New objects painted into real scenes by a network that was fitted to their class (a DDPM)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from flows.generators.base import Generator, Phase
from flows.generators.scene_inputs import inputs_by_class, of_stages, with_classes
from models.data.records import NO_OBJECT_LABEL, Annotation, Artifact, Record, SourceImage
from models.reporting.metrics import Factor
from tasks.engine.jobs import pairing_key
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SOURCE_STAGES, SharedInputs, WorkItem
from tasks.generate.finetuning.ddpm.fit_ddpm import fit_ddpm
from tasks.generate.finetuning.ddpm.fit_size_classifier import fit_size_classifier
from tasks.generate.finetuning.ddpm.object_square import object_squares
from tasks.generate.finetuning.ddpm.pretrain_ddpm import pretrain_ddpm
from tasks.generate.finetuning.scratch import remove_copies, remove_states
from tasks.generate.placing.place_objects import place_objects
from tasks.generate.placing.placement_picture import placement_picture
from tasks.generate.placing.real_objects import real_objects
from tasks.generate.repainting.cherry_picker import fit_cherry_picker
from tasks.generate.repainting.inputs import PICKER, REAL_OBJECTS, SQUARES, WEIGHTS
from tasks.generate.repainting.repaint import repaint
from tasks.generate.segment import segment
from tasks.settings.ddpm import (
    BaseAdm256,
    BaseFromScratch,
    BaseNetwork,
    FitAdapters,
    FitDdpm,
    FitSizeClassifier,
    SquareCrops,
    classifier_for,
    fit_for,
    squares_for,
)
from tasks.settings.placing import PlacementPicture, PlaceObjects
from tasks.settings.repaint import Repaint, picker_for, repaint_for
from tasks.settings.segment import Segment

# Scenes of a child run.
_SHARD = 8


class Settings(Record):
    """A network fitted to the objects of a class, and new ones painted into real scenes."""

    classes: tuple[str, ...] = Field(
        (), description="Classes that get new objects, such as a rare one alone; none listed: all."
    )
    scenes: Literal["references", "backgrounds", "both"] = Field(
        "references",
        description="Where objects are painted: into the references, or into the photos of"
        " `backgrounds`, as many as there are references at most, or into both.",
    )
    squares: SquareCrops = Field(SquareCrops(), description="The objects, with surroundings.")
    segment: Segment | None = Field(
        None,
        description="Find the mask of objects that have none, for fit.condition: masks and"
        " repaint.mask: tight; none: masks are those of the photos.",
    )
    base: BaseNetwork = Field(BaseAdm256(), description="The network before it learns the class.")
    fit: FitDdpm = Field(FitAdapters(), description="How it learns the class.")
    size_classifier: FitSizeClassifier | None = Field(
        None, description="Leads objects to the size of their boxes; none: nothing does."
    )
    place: PlaceObjects = Field(PlaceObjects(), description="Where new objects go.")
    repaint: Repaint = Field(Repaint(), description="How they are painted.")

    @model_validator(mode="after")
    def _has_masks_to_paint(self) -> Self:
        if self.repaint.mask == "tight" and self.fit.condition == "none":
            raise ValueError(
                "repaint.mask: tight paints the mask of an object that a new one follows; set "
                "fit.condition: edges or masks, or repaint.mask: square"
            )
        return self


def fit_class(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, shared: SharedInputs
) -> list[Artifact]:
    """What is learned of a class: weights, squares, sizes and surroundings of its objects.

    The photos that it was learned from come with it: images name them as sources.
    """
    label, base = item.label, list[Artifact]()
    squares = object_squares(run, squares_for(settings.base, settings.squares), label, item.sources)
    if settings.segment is not None:
        squares = _with_masks(squares, segment(run, settings.segment, squares))
    if isinstance(settings.base, BaseFromScratch):
        base = pretrain_ddpm(run, settings.base, item.sources, shared.backgrounds)
    weights = [*base, *fit_ddpm(run, fit_for(settings.base, settings.fit), base, squares, label)]
    picker, network = list[Artifact](), (settings.base, settings.squares, settings.fit)
    if settings.repaint.cherry_picker is not None:
        choosing = picker_for(*network, settings.repaint.cherry_picker)
        picker = fit_cherry_picker(run, choosing, label, item.sources, squares, weights)
    if settings.size_classifier is not None:
        guide = classifier_for(settings.base, settings.size_classifier)
        weights += fit_size_classifier(run, guide, squares, label)
    sizes = real_objects(run, settings.place, label, item.sources)
    remove_states(run, weights)
    return [*weights, *picker, *sizes, *squares, *(photo.image for photo in item.sources)]


def paint_shard(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, shared: SharedInputs
) -> list[Artifact]:
    """The scenes of a shard with new objects, class by class."""
    scenes, images = _scenes_of(settings, item, shared), list[Artifact]()
    for label, inputs in inputs_by_class(item):
        images += _paint_class(run, settings, label, scenes, inputs, shared)
    remove_copies(run, of_stages(item.inputs, *WEIGHTS))
    return images


def _paint_class(
    run: RunContext | PlanningRun,
    settings: Settings,
    label: str,
    scenes: Sequence[SourceImage],
    inputs: Sequence[Artifact],
    shared: SharedInputs,
) -> list[Artifact]:
    regions, learned = shared.regions, of_stages(inputs, *WEIGHTS, PICKER)
    placements = place_objects(
        run, settings.place, label, scenes, of_stages(inputs, REAL_OBJECTS), regions
    )
    picture = PlacementPicture(region=settings.place.region)
    placement_picture(run, picture, scenes, placements, regions)
    painting = repaint_for(
        settings.base, settings.squares, settings.fit, settings.repaint, settings.place.per_scene
    )
    teachers = [photo.name for photo in of_stages(inputs, *SOURCE_STAGES)]
    return repaint(
        run, painting, scenes, placements, learned, of_stages(inputs, *SQUARES), teachers
    )


def choose_inputs(
    settings: Any, _sources: Sequence[SourceImage], made: Mapping[str, Sequence[Artifact]]
) -> tuple[Artifact, ...]:
    """What was learned of all classes that get objects, each artifact with its class."""
    return with_classes(made, lambda label: GENERATOR.makes_objects_of(settings, label))


def factors(settings: Any) -> tuple[Factor, ...]:
    """Versions of each scene, for each class that gets objects."""
    versions = Factor(
        amount=settings.place.versions, name="versions", note="placements in the same scene"
    )
    classes = Factor(
        amount=len(settings.classes), name="classes", note="classes that get new objects"
    )
    return (versions, classes) if settings.classes else (versions,)


def needs_of(settings: Any) -> frozenset[str]:
    """Masks, if objects follow them and none are found."""
    follows_masks = settings.fit.condition == "masks" or settings.repaint.mask == "tight"
    return frozenset({"masks"} if follows_masks and settings.segment is None else ())


def _scenes_of(settings: Settings, item: WorkItem, shared: SharedInputs) -> tuple[SourceImage, ...]:
    """The scenes of a shard: its references, its share of the backgrounds, or both."""
    if settings.scenes == "references":
        return item.sources
    first = item.number * _SHARD
    empty = tuple(
        SourceImage(
            name=photo.name,
            file=photo.name,
            split="train",
            image=photo,
            annotations=(Annotation(label=NO_OBJECT_LABEL),),
        )
        for photo in shared.backgrounds[first : first + _SHARD]
    )
    return empty if settings.scenes == "backgrounds" else (*item.sources, *empty)


def _with_masks(squares: Sequence[Artifact], segmented: Sequence[Artifact]) -> list[Artifact]:
    """The squares with the masks that were found, and with what is known of them."""
    found = {pairing_key(artifact): artifact for artifact in segmented}
    return [
        found[pairing_key(square)].model_copy(update={"metadata": square.metadata})
        if pairing_key(square) in found
        else square
        for square in squares
    ]


GENERATOR = Generator(
    "ddpm_repaint",
    Settings,
    (
        Phase("fit", "class", fit_class, only_wanted=True),
        Phase("paint", "shard", paint_shard, _SHARD, choose_inputs),
    ),
    factors,
    needs=frozenset({"boxes"}),
    needs_of=needs_of,
    classes=lambda settings: settings.classes,
    placing=lambda settings: settings.place,
)
