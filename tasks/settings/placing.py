"""Settings of the stages that place new objects in scenes."""

from collections.abc import Collection
from typing import ClassVar

from pydantic import Field

from models.data.records import NO_OBJECT_LABEL, Record
from models.placement.settings import PlacementSettings, Polygon


class PlaceObjects(PlacementSettings):
    """Where new objects go in real photos, and how many versions a photo gets."""

    NON_KEY_FIELDS: ClassVar = frozenset({"versions", "scene_classes"})

    scene_classes: tuple[str, ...] = Field(
        (),
        description="Photos that get new objects: those that show one of these classes;"
        f" '{NO_OBJECT_LABEL}' are photos without an object, such as those of a folder good. None"
        " listed: all.",
    )
    versions: int = Field(
        1, ge=1, le=1000, description="Placements of each photo; each gives one image."
    )

    def is_scene(self, labels: Collection[str]) -> bool:
        """Whether a photo that shows these classes gets new objects."""
        return not self.scene_classes or not set(self.scene_classes).isdisjoint(labels)


class PlacementPicture(Record):
    """The picture of a placement; the region is that of the placement."""

    region: tuple[Polygon, ...] = ()
    longest_side: int = 768
