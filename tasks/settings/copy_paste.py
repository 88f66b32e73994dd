"""Settings of the stages of copy-paste: cutting out, backdrops, and composing scenes."""

from typing import ClassVar, Literal

from pydantic import Field

from models.compositing.scene_settings import Blending, SceneSettings
from models.data.records import Record
from tasks.settings.placing import PlaceObjects


class ObjectCrop(Record):
    """What of a photo is searched for an object that has a box and no mask."""

    box_margin: float = Field(
        0.15, ge=0, le=1, description="Space around a box, share of its sides."
    )


class CutOuts(Record):
    """The size of cut-outs, and their edge."""

    longest_side: int = Field(
        512, ge=16, le=4096, description="Longer side of a cut-out at most, px."
    )
    min_side: int = Field(
        16, ge=1, le=1024, description="Longer side of a cut-out at least, px; below: rejected."
    )
    clean_edge: bool = Field(
        True, description="Shrink objects of 64 px and more by about a px, without its old colours."
    )


class Backdrops(Record):
    """The empty scenes that all classes share, so that no class is known by its background."""

    NON_KEY_FIELDS: ClassVar = frozenset({"count"})

    count: int = Field(
        60, ge=1, le=10000, description="Procedural backgrounds, or background photos at most."
    )
    top_view_probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Probability of a procedural ground seen from above; none: as the scene"
        " suggests.",
    )


class SizedBackdrops(Backdrops):
    """Backdrops and their size."""

    width: int
    height: int


class ComposeScenes(SceneSettings):
    """How many scenes are made of each photo's objects, and what they hold."""

    NON_KEY_FIELDS: ClassVar = frozenset(
        {"per_photo", "blends", "one_class_share", "bank", "placing"}
    )

    per_photo: int = Field(25, ge=1, le=10000, description="Scenes per reference photo.")
    blends: int = Field(
        2, ge=1, le=20, description="Versions of each scene that differ in the blending alone."
    )
    blending: tuple[Blending, ...] = Field(
        ("none", "alpha", "gaussian", "box"),
        min_length=1,
        description="Blendings that versions get in turn, in an order drawn per scene; poisson is"
        " about 7 times as slow.",
    )
    one_class_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the scenes with objects of one class; others mix classes, count in"
        " the class of their photo, and serve detection and segmentation alone.",
    )
    bank: int = Field(
        24,
        ge=1,
        le=1000,
        description="Cut-outs and backdrops that the scenes of a photo are drawn from, besides its"
        " own cut-outs.",
    )
    distractors: Literal["shapes", "other_classes"] = Field(
        "shapes",
        description="Objects without a label: procedural shapes, or cut-outs of other classes.",
    )
    quality: int = Field(95, ge=50, le=100, description="JPEG quality of a scene.")
    placing: PlaceObjects | None = Field(
        None,
        description="Paste objects into the real photos instead, whose own objects stay; none:"
        " scenes with new backgrounds.",
    )
