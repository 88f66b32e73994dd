"""Settings of filling parts of scenes after a prompt, in a file without torch."""

from pydantic import Field

from models.data.records import Record


class InpaintSettings(Record):
    """How a new object is painted into the box where it was placed."""

    size: int = Field(
        512,
        ge=64,
        le=2048,
        multiple_of=64,
        description="Side of the square that the network paints, px; it was trained at this size.",
    )
    context: float = Field(
        2.5,
        ge=1,
        le=20,
        description="Side of the square around an object, times the longer side of its box.",
    )
    margin: float = Field(
        0.1,
        ge=0,
        le=2,
        description="Px around the box that are painted too, share of its longer side.",
    )
    strength: float = Field(
        1.0,
        gt=0,
        le=1,
        description="How far from what the scene shows there; at 1 nothing of it is left.",
    )
    steps: int = Field(
        50, ge=1, le=200, description="Denoising steps from pure noise; strength takes a share."
    )
    guidance_scale: float = Field(
        7.5, ge=0, le=30, description="How strictly the prompt is followed; 1 or less: loosely."
    )
    find_mask: bool = Field(
        True,
        description="Find the object's mask by what has changed; its box becomes that of the mask."
        " Without it, or where no mask fits, the box is the placed one.",
    )
