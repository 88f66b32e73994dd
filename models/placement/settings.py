"""Settings of placements, in a file without OpenCV."""

from typing import Annotated, Literal

from pydantic import Field

from models.data.records import Record

# Share of the frame's width or height.
Share = Annotated[float, Field(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Share, Share], ...], Field(min_length=3)]


class PlacementSettings(Record):
    """How many objects a scene gets, how large they are, and where they may be.

    A new object never covers a real one or another new one. It lies wholly in the frame and in the
    region.
    """

    per_scene: int = Field(
        1, ge=1, le=100, description="New objects of a scene; fewer where no free place is left."
    )
    context: Literal["random", "relevant"] = Field(
        "random",
        description="random: all free places are equally likely; relevant: those whose surroundings"
        " look like those of real objects, by features of the embedded backbone.",
    )
    region: tuple[Polygon, ...] = Field(
        (),
        description="Polygons that objects must lie in, as shares of width and height, such as"
        " [[[0, 0.5], [1, 0.5], [1, 1], [0, 1]]] for the lower half; none: the whole frame. See"
        " also `regions`.",
    )
    sizes: Literal["class", "scene"] = Field(
        "class",
        description="Sizes of all real objects of the class, or of those in the same photo, where"
        " it has any.",
    )
    size_jitter: float = Field(
        0.1, ge=0, le=0.9, description="Change of a real width and height, share either way."
    )
    vertical: Literal["any", "as_real"] = Field(
        "any",
        description="as_real: about as high in the frame as the real object that gave the size.",
    )
    square: bool = Field(
        False, description="Boxes are squares, as large as the longer side of a real box."
    )
    margin: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Space without other objects around a new one, share of its longer side.",
    )
    max_tries: int = Field(
        20, ge=1, le=1000, description="Sizes tried for an object before it is left out."
    )
    candidates: int = Field(
        48,
        ge=2,
        le=2000,
        description="Free places of a scene that context: relevant compares; each takes about"
        " 20 ms.",
    )
    top_share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Share of the compared places, the best ones, that are drawn from.",
    )
    context_size: float = Field(
        4.0,
        ge=1.5,
        le=20,
        description="Side of the compared surroundings, times the longer side of the object.",
    )
