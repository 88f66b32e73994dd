"""New objects in real scenes, painted after a prompt by an inpainting network."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from flows.generators.scene_inputs import inputs_by_class, of_stages, with_classes
from models.data.records import Artifact, Record, SourceImage
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SOURCE_STAGES, SharedInputs, WorkItem
from tasks.generate.inpaint import inpaint
from tasks.generate.placing.place_objects import place_objects
from tasks.generate.placing.placement_picture import placement_picture
from tasks.generate.placing.real_objects import real_objects
from tasks.settings.inpaint import Inpaint, InpaintSd15, inpaint_for
from tasks.settings.placing import PlacementPicture, PlaceObjects

# Scenes of a child run.
_SHARD = 8


class Settings(Record):
    """Objects that an inpainting network paints into the photos, where `place` puts them."""

    classes: tuple[str, ...] = Field(
        (), description="Classes that get new objects, such as a rare one alone; none listed: all."
    )
    place: PlaceObjects = Field(PlaceObjects(), description="Where new objects go.")
    inpaint: Inpaint = Field(InpaintSd15(), description="How they are painted.")


def learn_sizes(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """Sizes and surroundings of the objects of a class, and the photos that show them."""
    learned = real_objects(run, settings.place, item.label, item.sources)
    return [*learned, *(photo.image for photo in item.sources)]


def paint_shard(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, shared: SharedInputs
) -> list[Artifact]:
    """The scenes of a shard with new objects, class by class."""
    images: list[Artifact] = []
    painting = inpaint_for(settings.inpaint, settings.place.per_scene)
    picture = PlacementPicture(region=settings.place.region)
    for label, inputs in inputs_by_class(item):
        learned = of_stages(inputs, "real_objects")
        placed = place_objects(run, settings.place, label, item.sources, learned, shared.regions)
        placement_picture(run, picture, item.sources, placed, shared.regions)
        teachers = [photo.name for photo in of_stages(inputs, *SOURCE_STAGES)]
        images += inpaint(run, painting, item.sources, placed, teachers)
    return images


def choose_inputs(
    settings: Any, _sources: Sequence[SourceImage], made: Mapping[str, Sequence[Artifact]]
) -> tuple[Artifact, ...]:
    """What was learned of all classes that get objects, each artifact with its class."""
    return with_classes(made, lambda label: GENERATOR.makes_objects_of(settings, label))


def factors(settings: Any) -> tuple[Factor, ...]:
    """Versions of each scene."""
    return (
        Factor(
            amount=settings.place.versions, name="versions", note="placements in the same scene"
        ),
    )


GENERATOR = Generator(
    "inpaint",
    Settings,
    (
        Phase("sizes", "class", learn_sizes, only_wanted=True),
        Phase("paint", "shard", paint_shard, _SHARD, choose_inputs),
    ),
    factors,
    needs=frozenset({"boxes"}),
    classes=lambda settings: settings.classes,
    placing=lambda settings: settings.place,
)
