"""Source images that have no split yet: whole photos, or the annotated objects cut out of them."""

import hashlib
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypedDict

from models.data.find_photos import Refused
from models.data.formats.annotated import ObjectAnnotation
from models.data.names import comparable, safe_stem
from models.data.objects import PixelBox, add_margin, scale_box
from models.data.records import NO_OBJECT_LABEL, Annotation, Artifact, SourceImage, Split
from models.data.splits.near_duplicates import HashedPhoto, group_near_duplicates
from models.data.splits.splitting import SplitResult
from tasks.engine.run_context import RunContext
from tasks.ingest.crop import Crop, CropRequest, crop
from tasks.ingest.find_sources import FoundPhoto
from tasks.ingest.object_mask import (
    ObjectMask,
    alpha_mask,
    has_alpha,
    mask_as_artifact,
    object_mask,
)
from tasks.settings.segment import MASK_OF_PHOTO

# What `sample_name` adds to the name of a photo, perhaps several times, such as _view3.
_NUMBERED = re.compile(r"_[a-z]+\d+$")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A source image that waits for its split.

    ``file`` names the photo, or the photo and the number of the object in it. ``photo_size`` is the
    width and height of the normalised photo in px, and ``box`` is what of it the image shows.
    ``objects`` have boxes in px of the normalised photo, and masks of the size in the annotation
    file. All candidates of one scene have one ``group``. ``shows`` are the classes of a whole photo
    that may have several; None: it has one.
    """

    file: str
    label: str
    name: str
    photo: FoundPhoto
    image: Artifact
    photo_size: tuple[int, int]
    box: PixelBox
    objects: tuple[ObjectAnnotation, ...]
    digest: str
    group: str | None = None
    shows: frozenset[str] | None = None

    def hashed(self) -> HashedPhoto:
        """What the split needs to know of it."""
        return HashedPhoto(
            file=self.file,
            label=self.label,
            given_split=self.photo.split,
            digest=self.digest,
            **hashes_of(self.image),
            group=self.group,
            shows=self.shows,
        )


class _Hashes(TypedDict):
    dhash: int
    dhash_mirrored: int
    turned: tuple[int, ...]


def hashes_of(image: Artifact) -> _Hashes:
    """The hashes in the record of a photo, as `HashedPhoto` takes them."""
    known = image.metadata
    return {
        "dhash": int(known["dhash"], 16),
        "dhash_mirrored": int(known["dhash_mirrored"], 16),
        "turned": tuple(int(code, 16) for code in known["dhashes_turned"]),
    }


def make_crops(
    run: RunContext,
    photos: Sequence[FoundPhoto],
    images: Mapping[str, Artifact],
    digests: Mapping[str, str],
    margin: float,
    min_side: int,
    near_duplicate_bits: int | None,
    links: Sequence[tuple[str, str]] = (),
) -> tuple[list[Candidate], list[Refused], list[str]]:
    """A candidate per annotated object, cut out with a margin; refused objects; notes.

    Args:
        images: the normalised photo by file.
        digests: the digest of the file's bytes by file.
        margin: share of the object's width and height that is added on each side.
        min_side: least width and height of an object in px of the normalised photo.
        near_duplicate_bits: photos whose hashes differ in at most so many bits show one scene;
            None: hashes are not compared.
        links: more pairs of files that show one scene.
    """
    found: list[tuple[str, FoundPhoto, int, ObjectAnnotation]] = []
    refused = []
    for photo in photos:
        for number, item in enumerate(photo.objects, 1):
            scaled = scale_object(item, photo, images[photo.file])
            assert scaled.box is not None
            file = f"{photo.file}: object {number}"
            width, height = scaled.box[2:]
            if min(width, height) < min_side:
                reason = (
                    f"{item.label} of {width:.0f}x{height:.0f} px is too small; each side needs"
                    f" {min_side} px (ingest.min_side)"
                )
                refused.append(Refused(file, reason))
            else:
                found.append((file, photo, number, scaled))
    names = name_images(
        [
            (file, p.split, f"{wanted_name(p, item.label)}_{number}")
            for file, p, number, item in found
        ]
    )
    requests = []
    for file, photo, _, item in found:
        assert item.box is not None
        image = images[photo.file]
        box = add_margin(item.box, margin, *size_of(image))
        requests.append(CropRequest(image, box, names[file]))
    crops = crop(run, Crop(), requests)
    scenes = _scenes(photos, images, digests, near_duplicate_bits, links)
    candidates = [
        Candidate(
            file=file,
            label=item.label,
            name=names[file],
            photo=photo,
            image=rename_image(image, image.name),
            photo_size=size_of(request.photo),
            box=request.box,
            objects=(item,),
            digest=hashlib.sha256(f"{digests[photo.file]} {request.box}".encode()).hexdigest(),
            group=scenes[photo.file],
        )
        for (file, photo, _, item), request, image in zip(found, requests, crops, strict=True)
    ]
    missing = sum(not photo.objects for photo in photos)
    notes = [f"photos without an annotated object, not used: {missing}"] if missing else []
    return candidates, refused, notes


def make_source_images(
    run: RunContext, candidates: Sequence[Candidate], result: SplitResult
) -> list[SourceImage]:
    """The source images of the candidates that got a split, sorted by name."""
    assigned = result.assigned
    used = [candidate for candidate in candidates if candidate.file in assigned]
    inputs = {
        (candidate.file, number): mask_as_artifact(
            item,
            candidate.photo_size,
            candidate.box,
            candidate.name,
        )
        for candidate in used
        for number, item in enumerate(candidate.objects)
        if item.runs is not None
    }
    masks = object_mask(run, ObjectMask(), list(inputs.values())) if inputs else []
    mask_of = {mask.parents[0]: mask for mask in masks}
    cut_outs = [
        candidate.image
        for candidate in used
        if has_alpha(candidate.image) and _is_label_alone(candidate.objects)
    ]
    alpha_masks = alpha_mask(run, ObjectMask(), cut_outs) if cut_outs else []
    alpha_of = {image.id: mask for image, mask in zip(cut_outs, alpha_masks, strict=True)}
    sources = []
    for candidate in used:
        annotations = []
        for number, item in enumerate(candidate.objects):
            source = inputs.get((candidate.file, number))
            mask = mask_of.get(source.id) if source is not None else None
            box = item.box
            if box is not None:
                box = (box[0] - candidate.box[0], box[1] - candidate.box[1], box[2], box[3])
            if mask is None and box is None and candidate.image.id in alpha_of:
                mask = alpha_of[candidate.image.id]
                box = tuple(mask.metadata["box"])
            annotations.append(Annotation(label=item.label, box=box, mask=mask))
        sources.append(
            SourceImage(
                name=candidate.name,
                file=candidate.photo.file,
                split=assigned[candidate.file],
                image=candidate.image,
                annotations=tuple(annotations),
                prompt=candidate.photo.prompt,
                family=result.families[candidate.file],
                source_digest=candidate.digest,
                counted_as=candidate.label if len({note.label for note in annotations}) > 1 else "",
            )
        )
    return sorted(sources, key=lambda source: source.name)


def name_images(entries: Sequence[tuple[str, Split | None, str]]) -> dict[str, str]:
    """A unique name per file: the wanted one, or with the split's name or a number where taken.

    A name is also taken if an image that is made of another photo could get it, such as
    ``mug/1_view2`` of ``mug/1``.
    """
    wishes = {comparable(wanted) for _, _, wanted in entries}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for file, split, wanted in sorted(entries, key=lambda entry: (entry[1] != "train", entry[0])):
        given = [f"-{split}"] if split else []
        plain = [] if _could_be_made(comparable(wanted), wishes) else [""]
        tails = itertools.chain(plain, given, (f"-{number}" for number in itertools.count(2)))
        name = next(name for tail in tails if comparable(name := f"{wanted}{tail}") not in taken)
        taken.add(comparable(name))
        names[file] = name
    return names


def _could_be_made(name: str, names: Collection[str]) -> bool:
    """Whether an image that is made of one of these could get this name."""
    while (shorter := _NUMBERED.sub("", name)) != name:
        if shorter in names:
            return True
        name = shorter
    return False


def rename_image(image: Artifact, name: str) -> Artifact:
    """The source image under its name; the variant of a cut-out says that its mask is known."""
    variant = dict(MASK_OF_PHOTO) if has_alpha(image) else {}
    return image.model_copy(update={"name": name, "variant": variant})


def _is_label_alone(objects: Sequence[ObjectAnnotation]) -> bool:
    if len(objects) != 1 or objects[0].label == NO_OBJECT_LABEL:
        return False
    return objects[0].box is None and objects[0].runs is None


def wanted_name(photo: FoundPhoto, label: str) -> str:
    """The name of a photo of a class, unless another one has it."""
    return f"{label}/{safe_stem(PurePosixPath(photo.file).stem)}"


def size_of(image: Artifact) -> tuple[int, int]:
    """Width and height of a normalised photo, px."""
    return int(image.metadata["width"]), int(image.metadata["height"])


def scale_object(item: ObjectAnnotation, photo: FoundPhoto, image: Artifact) -> ObjectAnnotation:
    """The object with its box in px of the normalised photo."""
    if photo.size is None or item.box is None:
        return item
    width, height = size_of(image)
    box = scale_box(item.box, width / photo.size[0], height / photo.size[1])
    return item.replaced(item.label, box)


def _scenes(
    photos: Sequence[FoundPhoto],
    images: Mapping[str, Artifact],
    digests: Mapping[str, str],
    bits: int | None,
    links: Sequence[tuple[str, str]],
) -> dict[str, str]:
    """The first file of each photo's scene: photos of one scene are near-duplicates."""
    hashed = [
        HashedPhoto(
            file=photo.file,
            label="",
            given_split=photo.split,
            digest=digests[photo.file],
            **hashes_of(images[photo.file]),
        )
        for photo in photos
    ]
    number = {photo.file: index for index, photo in enumerate(photos)}
    pairs = [(number[first], number[second]) for first, second in links]
    return {
        hashed[index].file: hashed[group[0]].file
        for group in group_near_duplicates(hashed, bits, pairs)
        for index in group
    }
