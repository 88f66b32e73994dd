"""Whole photos as source images: of one class each, or scenes with objects of any classes."""

from collections.abc import Mapping, Sequence

from models.data.find_photos import Refused
from models.data.formats.annotated import ObjectAnnotation
from models.data.records import NO_OBJECT_LABEL, Artifact
from tasks.ingest.find_sources import NO_OBJECT, FoundPhoto, count_scenes, problem_of_labels
from tasks.ingest.source_images import (
    Candidate,
    name_images,
    rename_image,
    scale_object,
    size_of,
    wanted_name,
)


def make_whole_images(
    photos: Sequence[FoundPhoto],
    images: Mapping[str, Artifact],
    digests: Mapping[str, str],
    group_of: Mapping[str, str],
) -> tuple[list[Candidate], list[Refused], list[str]]:
    """A candidate per photo with all its objects of one class; refused photos; notes.

    Args:
        images: the normalised photo by file.
        digests: the digest of the file's bytes by file.
        group_of: the group that the user gave, by file.
    """
    used, refused, notes = [], [], []
    for photo in photos:
        problem = problem_of_labels(photo.objects)
        if problem is None:
            used.append(photo)
        elif problem != NO_OBJECT:
            refused.append(Refused(photo.file, problem))
    if missing := sum(not photo.objects for photo in photos):
        notes.append(f"photos without an annotated object, not used: {missing}")
    labels = {photo.file: photo.objects[0].label for photo in used}
    return _candidates(used, images, digests, group_of, labels), refused, notes


def make_scenes(
    photos: Sequence[FoundPhoto],
    images: Mapping[str, Artifact],
    digests: Mapping[str, str],
    group_of: Mapping[str, str],
) -> tuple[list[Candidate], list[Refused], list[str]]:
    """A candidate per photo with all its objects, of any classes or none; no refusals; notes.

    Args:
        images, digests, group_of: as of `make_whole_images`.

    Raises:
        ValueError: a class has the name that stands for photos without an object.
    """
    if any(item.label == NO_OBJECT_LABEL for photo in photos for item in photo.objects):
        raise ValueError(
            f"ingest.objects: scene: the class {NO_OBJECT_LABEL!r} has the name of photos without"
            " an object; rename the class in the annotations"
        )
    candidates = _candidates(photos, images, digests, group_of, count_scenes(photos), scenes=True)
    missing = sum(not photo.objects for photo in photos)
    notes = [f"photos without an annotated object, used as such: {missing}"] if missing else []
    return candidates, [], notes


def _candidates(
    photos: Sequence[FoundPhoto],
    images: Mapping[str, Artifact],
    digests: Mapping[str, str],
    group_of: Mapping[str, str],
    labels: Mapping[str, str],
    *,
    scenes: bool = False,
) -> list[Candidate]:
    names = name_images([(p.file, p.split, wanted_name(p, labels[p.file])) for p in photos])
    candidates = []
    for photo in photos:
        image = images[photo.file]
        objects = photo.objects or (ObjectAnnotation(NO_OBJECT_LABEL),)
        candidates.append(
            Candidate(
                file=photo.file,
                label=labels[photo.file],
                name=names[photo.file],
                photo=photo,
                image=rename_image(image, names[photo.file]),
                photo_size=size_of(image),
                box=(0, 0, *size_of(image)),
                objects=tuple(scale_object(item, photo, image) for item in objects),
                digest=digests[photo.file],
                group=group_of.get(photo.file),
                shows=frozenset(item.label for item in photo.objects) if scenes else None,
            )
        )
    return candidates
