"""Objects of the photos, cut out and pasted onto new backgrounds or into real photos."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from models.data.records import Artifact, Record, SourceImage
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.pasting.backdrop import backdrop
from tasks.generate.pasting.compose_scenes import choose_bank, compose_scenes
from tasks.generate.pasting.cut_out import cut_out
from tasks.generate.pasting.object_crop import object_crop
from tasks.generate.pasting.paste_objects import choose_cut_outs, paste_objects, split_by_class
from tasks.generate.placing.place_objects import place_objects
from tasks.generate.placing.placement_picture import placement_picture
from tasks.generate.placing.real_objects import real_objects
from tasks.generate.segment import segment
from tasks.settings.copy_paste import (
    Backdrops,
    ComposeScenes,
    CutOuts,
    ObjectCrop,
    SizedBackdrops,
)
from tasks.settings.placing import PlacementPicture
from tasks.settings.segment import Segment, SegmentGrabCut

# Backdrops are larger than scenes, so that scenes on the same one differ.
_BACKDROP_SCALE = 1.25


class Settings(Record):
    """Scenes of pasted objects, with the class, mask and box of each."""

    classes: tuple[str, ...] = Field(
        (), description="Classes that get images, such as a rare one alone; none listed: all."
    )
    object_crop: ObjectCrop = Field(ObjectCrop(), description="Each object of a photo.")
    segment: Segment = Field(
        SegmentGrabCut(), description="The mask of each object that has none of its own."
    )
    cut_outs: CutOuts = Field(CutOuts(), description="The objects, cut out.")
    backdrops: Backdrops = Field(Backdrops(), description="The empty scenes.")
    scenes: ComposeScenes = Field(ComposeScenes(), description="The images.")


def make_bank(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, shared: SharedInputs
) -> list[Artifact]:
    """The cut-outs of a class, and the backdrops of all classes.

    For real photos as scenes: what is learned of the class, and its cut-outs.
    """
    if settings.scenes.placing is not None:
        is_wanted = not settings.classes or item.name in settings.classes
        photos = item.sources if is_wanted else ()
        learned = real_objects(run, settings.scenes.placing, item.name, photos)
        return learned + _cut_out(run, settings, [photo.only(item.name) for photo in photos])
    cut_outs = _cut_out(run, settings, item.sources)
    size = {
        "width": round(settings.scenes.width * _BACKDROP_SCALE),
        "height": round(settings.scenes.height * _BACKDROP_SCALE),
    }
    sized = SizedBackdrops(**settings.backdrops.model_dump(), **size)
    return cut_outs + backdrop(run, sized, shared.backgrounds)


def _cut_out(
    run: RunContext | PlanningRun, settings: Settings, photos: Sequence[SourceImage]
) -> list[Artifact]:
    crops = object_crop(run, settings.object_crop, photos)
    objects = segment(run, settings.segment, crops)
    return cut_out(run, settings.cut_outs, objects, settings.object_crop.box_margin)


def make_scenes(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, shared: SharedInputs
) -> list[Artifact]:
    """The scenes of one photo."""
    placing = settings.scenes.placing
    if placing is None:
        (photo,) = item.sources
        return compose_scenes(run, settings.scenes, photo.name, item.inputs)
    images: list[Artifact] = []
    for label, (learned, *cut_outs) in split_by_class(item.inputs).items():
        placed = place_objects(run, placing, label, item.sources, [learned], shared.regions)
        drawing = PlacementPicture(region=placing.region)
        placement_picture(run, drawing, item.sources, placed, shared.regions)
        images += paste_objects(run, settings.scenes, item.sources, placed, cut_outs)
    return images


def choose_inputs(
    settings: Any, sources: Sequence[SourceImage], made: Mapping[str, Sequence[Artifact]]
) -> tuple[Artifact, ...]:
    """The part of the bank that the scenes of one photo are drawn from."""
    if settings.scenes.placing is not None:
        return choose_cut_outs(settings.scenes, sources[0], settings.classes, made)
    return choose_bank(settings.scenes, sources[0].name, made)


def factors(settings: Any) -> tuple[Factor, ...]:
    """Scenes times versions."""
    scenes = settings.scenes
    placing = scenes.placing
    return (
        Factor(amount=scenes.per_photo, name="scenes", note="scenes with objects of the photo")
        if placing is None
        else Factor(amount=placing.versions, name="places", note="placements in the photo"),
        Factor(amount=scenes.blends, name="blends", note="blendings of the same scene"),
    )


GENERATOR = Generator(
    "copy_paste",
    Settings,
    (
        Phase("bank", "class", make_bank),
        Phase("scenes", "image", make_scenes, choose_inputs=choose_inputs),
    ),
    factors,
    classes=lambda settings: settings.classes,
    placing=lambda settings: settings.scenes.placing,
)
