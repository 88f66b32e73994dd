"""Objects of the photos, cut out and pasted onto new backgrounds, several in a scene."""

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
from tasks.generate.segment import segment
from tasks.settings.copy_paste import (
    Backdrops,
    ComposeScenes,
    CutOuts,
    ObjectCrop,
    SizedBackdrops,
)
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
    """The cut-outs of a class, and the backdrops of all classes."""
    crops = object_crop(run, settings.object_crop, item.sources)
    objects = segment(run, settings.segment, crops)
    cut_outs = cut_out(run, settings.cut_outs, objects, settings.object_crop.box_margin)
    size = {
        "width": round(settings.scenes.width * _BACKDROP_SCALE),
        "height": round(settings.scenes.height * _BACKDROP_SCALE),
    }
    sized = SizedBackdrops(**settings.backdrops.model_dump(), **size)
    return cut_outs + backdrop(run, sized, shared.backgrounds)


def make_scenes(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """The scenes of one photo."""
    (photo,) = item.sources
    return compose_scenes(run, settings.scenes, photo.name, item.inputs)


def choose_inputs(
    settings: Any, sources: Sequence[SourceImage], made: Mapping[str, Sequence[Artifact]]
) -> tuple[Artifact, ...]:
    """The part of the bank that the scenes of one photo are drawn from."""
    return choose_bank(settings.scenes, sources[0].name, made)


def factors(settings: Any) -> tuple[Factor, ...]:
    """Scenes times versions."""
    scenes = settings.scenes
    return (
        Factor(amount=scenes.per_photo, name="scenes", note="scenes with objects of the photo"),
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
)
