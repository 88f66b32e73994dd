"""Ranges of two augmentation policies, in a file without torch, so that recipes load fast."""

from typing import Literal, Self

from pydantic import Field, model_validator

from models.data.records import Record

RANGED_POLICIES = ("custom", "rotate_blur_flip")


class PolicyRanges(Record):
    """How far ``augment: custom`` and ``augment: rotate_blur_flip`` change a train image.

    The defaults are those of the subject-driven study's own policy. ``rotate_blur_flip`` changes no
    colours, and turns images upside down as often as it mirrors them.
    """

    flip: float = Field(0.5, ge=0, le=1, description="Chance of a mirror image.")
    brightness: float = Field(
        0.3, ge=0, le=0.9, description="custom: brightness, share either way."
    )
    contrast: float = Field(0.1, ge=0, le=0.9, description="custom: contrast, share either way.")
    saturation: float = Field(
        0.2, ge=0, le=0.9, description="custom: saturation, share either way."
    )
    hue: float = Field(
        0.1, ge=0, le=0.5, description="custom: hue shift at most, turns of the circle."
    )
    blur_kernel: Literal[3, 5, 7, 9, 11] = Field(
        3, description="Side of the Gaussian blur's kernel, pixels of the square input."
    )
    blur_min: float = Field(0.1, ge=0.01, le=3, description="Blur, least sigma, pixels.")
    blur_max: float = Field(2.0, ge=0.01, le=10, description="Blur, largest sigma, pixels.")
    rotation: float = Field(10.0, ge=0, le=180, description="Rotation at most, degrees either way.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.blur_min > self.blur_max:
            raise ValueError(
                f"blur_min: {self.blur_min} is above blur_max {self.blur_max}; correct one of them"
            )
        return self
