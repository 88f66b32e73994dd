"""Settings of painting new objects into scenes, in a file without torch."""

from typing import Literal

from pydantic import Field

from models.data.records import Record

# What an object follows: nothing, edges, or a mask.
Condition = Literal["none", "edges", "masks"]
# What is painted: all px of the box, or those of the mask.
MaskKind = Literal["square", "tight"]


class PaintingSettings(Record):
    """How objects are painted, and how the best of several is chosen.

    RePaint: each part between two jumps is painted ``rounds`` times, so that what is painted fits
    what is known. With ``jump`` 1, ``rounds`` is U of the paper's algorithm 1.
    """

    steps: int = Field(
        250, ge=2, le=1000, description="Steps from noise to an image, of those of the training."
    )
    jump: int = Field(10, ge=1, le=1000, description="Steps that a jump leads back to more noise.")
    rounds: int = Field(
        10, ge=1, le=100, description="How often each part between two jumps is done; 1: no jumps."
    )
    mask: MaskKind = Field(
        "square",
        description="What is painted: square: the box and its margin; tight: the mask of the real"
        " object that a new one follows, which needs masks and fit.condition: edges or masks.",
    )
    margin: float = Field(
        0.1,
        ge=0,
        le=2,
        description="Px around the object that are painted too, share of its longer side.",
    )
    flips: bool = Field(
        True, description="Half of the real objects that new ones follow are mirrored."
    )
    size_guidance: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Strength with which size_classifier leads an object to the size of its box; 0:"
        " not at all.",
    )
    candidates: int = Field(
        4, ge=1, le=64, description="Paintings of each object, of which cherry_picker takes one."
    )
    find_mask: bool = Field(
        True,
        description="Find the mask of an object that follows nothing, by what has changed; its box"
        " becomes that of the mask.",
    )

    @property
    def passes(self) -> int:
        """About how often the network computes an object, all candidates together."""
        return self.steps * self.rounds * self.candidates
