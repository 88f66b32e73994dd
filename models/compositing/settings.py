"""Settings of compositing, in a file without OpenCV."""

from pydantic import Field

from models.data.records import Record


class CompositeSettings(Record):
    """How large the object is, where it may be, and how far it is adapted to its scene."""

    smallest: float = Field(
        0.5, gt=0, le=2, description="Object's longer side at least, share of the shorter side."
    )
    largest: float = Field(
        0.9, gt=0, le=2, description="Object's longer side at most, share of the shorter side."
    )
    margin: float = Field(
        0.06, ge=0, le=0.4, description="Space kept free at each border, share of the side."
    )
    max_rotation: float = Field(
        12.0, ge=0, le=180, description="Rotation at most where it lies flat, degrees either way."
    )
    colour_matching: float = Field(
        0.5, ge=0, le=1, description="How far colours move to the scene's; 0 leaves them."
    )
    shadow: float = Field(0.7, ge=0, le=1, description="Darkness of the shadow; 0 casts none.")
