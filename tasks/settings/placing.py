"""Settings of the stages that place new objects in scenes."""

from typing import ClassVar

from pydantic import Field

from models.data.records import Record
from models.placement.settings import PlacementSettings, Polygon


class PlaceObjects(PlacementSettings):
    """Where new objects go in real photos, and how many versions a photo gets."""

    NON_KEY_FIELDS: ClassVar = frozenset({"versions"})

    versions: int = Field(
        1, ge=1, le=1000, description="Placements of each photo; each gives one image."
    )


class PlacementPicture(Record):
    """The picture of a placement; the region is that of the placement."""

    region: tuple[Polygon, ...] = ()
    longest_side: int = 768
