"""Settings of scenes that are composed of cut-outs, in a file without OpenCV."""

from typing import Literal, Self

from pydantic import Field, model_validator

from models.data.records import Record

Blending = Literal["none", "alpha", "gaussian", "box", "poisson"]


class SceneSettings(Record):
    """How many objects a scene holds, how each is changed, and how much of it stays visible.

    A place that would break `max_overlap`, `truncation` or `min_visibility` is drawn again; an
    object that finds no place is left out. So every object of a scene keeps all three limits.
    """

    width: int = Field(640, ge=32, le=4096, description="Width of a scene, px.")
    height: int = Field(480, ge=32, le=4096, description="Height of a scene, px.")
    min_objects: int = Field(1, ge=1, le=100, description="Objects of a scene at least.")
    max_objects: int = Field(
        3, ge=1, le=100, description="Objects of a scene at most; fewer where no place is left."
    )
    smallest: float = Field(
        0.3, gt=0, le=1.5, description="Object's longer side at least, share of the shorter side."
    )
    largest: float = Field(
        0.8, gt=0, le=1.5, description="Object's longer side at most, share of the shorter side."
    )
    size_difference: float | None = Field(
        None,
        ge=0,
        le=1,
        description="How much objects of one scene differ in size, share either way; none: each has"
        " any size from smallest to largest.",
    )
    max_rotation: float = Field(
        30.0, ge=0, le=180, description="Rotation at most, degrees either way; 180: any."
    )
    flip: float = Field(0.5, ge=0, le=1, description="Chance that an object is mirrored.")
    upside_down: float = Field(
        0.0, ge=0, le=1, description="Chance that an object is mirrored top to bottom."
    )
    spread: float = Field(
        1.0,
        ge=0,
        le=1,
        description="1: objects lie anywhere; towards 0: in a heap in the middle of the frame.",
    )
    max_overlap: float = Field(
        0.2, ge=0, le=1, description="Share of an object that others may cover."
    )
    truncation: float = Field(
        0.1, ge=0, le=1, description="Share of an object that may lie outside of the frame."
    )
    min_visibility: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of an object that is seen at least, after frame and other objects.",
    )
    tries: int = Field(20, ge=1, le=200, description="Places drawn for an object at most.")
    brightness: float = Field(0.15, ge=0, le=0.9, description="Brightness, share either way.")
    colour: float = Field(
        0.05, ge=0, le=0.5, description="Each colour channel's brightness, share either way."
    )
    feather: float = Field(
        1.5, gt=0, le=20, description="Blur of the edge (gaussian: sigma; box: radius), px."
    )
    min_distractors: int = Field(
        0, ge=0, le=50, description="Objects without a label at least, per scene."
    )
    max_distractors: int = Field(
        1, ge=0, le=50, description="Objects without a label at most, per scene."
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for low, high in (
            ("min_objects", "max_objects"),
            ("smallest", "largest"),
            ("min_distractors", "max_distractors"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if least > most:
                raise ValueError(f"{low} is {least:g}, above {high}, {most:g}; set one of them")
        return self
