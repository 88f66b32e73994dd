"""What an image says of its objects: all generators that paint into real photos say it alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.data.records import Artifact, SourceImage


def with_sources(scene: SourceImage, teachers: Sequence[str]) -> Artifact:
    """The image of a scene, whose metadata names the photos that its new objects come from.

    Args:
        teachers: names of the photos that something was learned from.
    """
    sources = sorted({*teachers, scene.name})
    return scene.image.model_copy(update={"metadata": {**scene.image.metadata, "sources": sources}})


def new_object(
    label: str, box: Sequence[float], mask: str | None, source: str, **more: Any
) -> dict[str, Any]:
    """The entry of a new object.

    Args:
        box: x, y, width, height in px of the scene.
        mask: COCO run lengths, if its mask is known.
        source: name of the photo that it shows or follows.
        more: further entries.
    """
    entry = {"label": label, "box": list(box), "mask": mask, "source": source, "is_new": True}
    return {**entry, **more}


def describe_scene(
    photo: Artifact,
    label: str,
    placement: Mapping[str, Any],
    new: Sequence[Mapping[str, Any]],
    sources: Sequence[str],
) -> dict[str, Any]:
    """The metadata of an image: its objects, its sources, and the class that it is counted in.

    Args:
        photo: the scene.
        label: the class of the new objects.
        placement: content of stage ``place_objects``; its real objects stay.
        new: entries of `new_object`.
        sources: names of the photos that the image is made of.
    """
    real = [{**entry, "source": photo.name, "is_new": False} for entry in placement["objects"]]
    return {
        "objects": [*real, *new],
        "sources": list(sources),
        "counted_as": label,
        # Images of a photo differ in small objects alone, and are no near-duplicates by mistake.
        "composition": photo.digest[:16],
    }
