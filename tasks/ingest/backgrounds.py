"""Background photos: the empty scenes that objects are put into."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.data.error_lines import join_reasons
from models.data.find_photos import Refused
from models.data.photo_file.open_image import SUFFIXES
from models.data.records import Artifact, SourceImage
from models.data.splits.near_duplicates import HashedPhoto, later_near_duplicates
from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.ingest.object_mask import has_alpha
from tasks.ingest.read_files import Ingest, ingest_files
from tasks.ingest.same_pictures import match_photos
from tasks.ingest.source_images import hashes_of


class NoBackgroundsError(RuntimeError):
    """No background photo can be used; the line gives reasons."""


def list_backgrounds(folder: Path) -> list[Path]:
    """The background photos of a folder, sorted; opens none.

    Raises:
        ValueError: the folder is missing or holds no photo.
    """
    if not folder.is_dir():
        raise ValueError(f"backgrounds: {folder} is no folder; name one that holds photos")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"backgrounds: {folder} holds no photo; add some")
    return paths


def ingest_backgrounds(
    run: RunContext,
    folder: Path | None,
    parameters: Ingest,
    heldout: Sequence[SourceImage],
    splits: SplitParameters,
) -> tuple[list[Artifact], list[Refused]]:
    """The photos of a flat folder in the order of their names, and refused ones; none without it.

    A photo that can't be read is refused, and so is one that shows a held-out photo: by its hash,
    or by its local features where ``splits`` says so.

    Args:
        heldout: the val and test photos.

    Raises:
        ValueError: the folder is missing or holds no photo.
        NoBackgroundsError: none of its photos can be used.
    """
    if folder is None:
        return [], []
    paths = list_backgrounds(folder)
    read = ingest_files(run, parameters, {f"backgrounds/{path.name}": path for path in paths})
    if not read.photos:
        reasons = [f"{entry.file.partition('/')[2]}: {entry.reason}" for entry in read.refused]
        start = f"backgrounds: no photo of {folder} can be read"
        raise NoBackgroundsError(join_reasons(start, reasons, "replace them or add others"))
    cut_outs = {name for name, photo in read.photos.items() if has_alpha(photo)}
    whole = {name: photo for name, photo in read.photos.items() if name not in cut_outs}
    shown = _find_heldout(run, whole, heldout, splits)
    refused = [
        Refused(name, "a cut-out; a background needs a scene without transparent parts")
        for name in sorted(cut_outs)
    ]
    refused += [
        Refused(name, f"shows the {photo.split} photo {photo.file}")
        for name, photo in sorted(shown.items())
    ]
    photos = [photo for name, photo in whole.items() if name not in shown]
    if not photos:
        raise NoBackgroundsError(
            f"backgrounds: every photo of {folder} shows a val or test photo or is a cut-out; use"
            " other photos"
        )
    return photos, [*read.refused, *refused]


def _find_heldout(
    run: RunContext,
    backgrounds: Mapping[str, Artifact],
    heldout: Sequence[SourceImage],
    splits: SplitParameters,
) -> dict[str, SourceImage]:
    """The first held-out photo that each background shows; others are left out."""
    names, count = list(backgrounds), len(backgrounds)
    images = [*backgrounds.values(), *(photo.image for photo in heldout)]
    hashed = [
        HashedPhoto(str(number), "", None, image.digest, **hashes_of(image))
        for number, image in enumerate(images)
    ]
    shown: dict[str, SourceImage] = {}
    for index, later in later_near_duplicates(hashed, splits.family_bits):
        held = later[later >= count]
        if index < count and len(held):
            shown[names[index]] = heldout[held[0] - count]
    if splits.has_local_features:
        pairs = [(i, j) for i in range(count) for j in range(count, len(images))]
        for first, second, match in match_photos(run, images, pairs):
            if match.is_same_picture:
                shown.setdefault(names[first], heldout[second - count])
    return shown
