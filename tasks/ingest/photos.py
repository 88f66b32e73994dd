"""Ingest: photo files become photos in the store, upright RGB; what can't be read is refused by
name.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from models.data.find_photos import PhotoFile, Refused
from models.data.near_duplicates import HashedPhoto
from models.data.read_photo import SUFFIXES, PhotoRejected, read_photo
from models.data.records import Artifact, IngestedPhotos, Record, Reference
from models.data.splitting import SplitParameters, split
from models.screening.quality import dhash, dhash_mirrored
from tasks.engine.run_context import RunContext
from tasks.engine.stage import StageInput, StageOutput, stage


class Ingest(Record):
    """Which photos are taken, and how they are split where the folder does not say."""

    max_side: int = Field(2048, ge=64, le=16384, description="Larger photos are scaled down, px.")
    min_side: int = Field(32, ge=8, le=4096, description="Smaller photos are refused, px.")
    max_pixels: int = Field(
        100_000_000, ge=1_000_000, description="Photos of more pixels are refused unread."
    )


@stage("ingest", version=1)
def ingest(inputs: Sequence[StageInput], parameters: Ingest) -> Iterator[StageOutput]:
    """Normalised photos; ``facts`` hold their hashes and what had to be converted."""
    for item in inputs:
        path = Path(item.job.inputs[0].metadata["path"])
        try:
            photo = read_photo(
                path.read_bytes(),
                max_pixels=parameters.max_pixels,
                max_side=parameters.max_side,
                min_side=parameters.min_side,
            )
        except PhotoRejected as reason:
            yield StageOutput(reject_reason=str(reason))
            continue
        metadata = {
            "dhash": f"{dhash(photo.pixels):064x}",
            "dhash_mirrored": f"{dhash_mirrored(photo.pixels):064x}",
            "width": photo.pixels.shape[1],
            "height": photo.pixels.shape[0],
            "notes": list(photo.notes),
        }
        yield StageOutput(photo.pixels, metadata=metadata)


def ingest_photos(
    run: RunContext, files: Sequence[PhotoFile], parameters: Ingest, splits: SplitParameters
) -> IngestedPhotos:
    """Read, hash and split photos.

    Raises:
        ValueError: a class is too small to be split; the line says how many photos it needs.
    """
    sources = [_as_artifact(one.path, one.file) for one in files]
    photos = {artifact.name: artifact for artifact in ingest(run, parameters, sources)}
    unreadable = [
        Refused(artifact.name, artifact.reject_reason)
        for artifact in run.made.values()
        if artifact.stage == ingest.name and artifact.reject_reason
    ]
    hashed = [
        HashedPhoto(
            file=one.file,
            label=one.label,
            given_split=one.split,
            digest=source.digest,
            dhash=int(photos[one.file].metadata["dhash"], 16),
            dhash_mirrored=int(photos[one.file].metadata["dhash_mirrored"], 16),
        )
        for one, source in zip(files, sources, strict=True)
        if one.file in photos
    ]
    result = split(hashed, splits)
    names = _names(files)
    references = [
        Reference(
            name=names[one.file],
            file=one.file,
            label=one.label,
            split=result.assigned[one.file],
            photo=photos[one.file].model_copy(update={"name": names[one.file]}),
            prompt=one.prompt,
        )
        for one in files
        if one.file in result.assigned
    ]
    refused = sorted((one.file, one.reason) for one in [*unreadable, *result.refused])
    converted = [
        f"{name}: {', '.join(photo.metadata['notes'])}"
        for name, photo in sorted(photos.items())
        if photo.metadata["notes"]
    ]
    return IngestedPhotos(
        photos=tuple(sorted(references, key=lambda one: one.name)),
        refused=tuple(refused),
        notes=(*result.notes, *converted),
    )


def ingest_plates(run: RunContext, folder: Path | None, parameters: Ingest) -> list[Artifact]:
    """The photos of a flat folder of background plates, in the order of their names.

    Raises:
        ValueError: the folder is missing or holds no photo.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise ValueError(f"background.plates: {folder} is no folder; name one that holds photos")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    plates = ingest(run, parameters, [_as_artifact(path, f"plates/{path.name}") for path in paths])
    if not plates:
        raise ValueError(f"background.plates: {folder} holds no photo that can be read")
    return plates


def _as_artifact(path: Path, name: str) -> Artifact:
    """The file as an input of the stage: the user's folder keeps its bytes, not the store."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        digest = hashlib.sha256(f"unreadable {name} {error.errno}".encode()).hexdigest()
    return Artifact(
        key=digest,
        stage="file",
        version=1,
        name=name,
        media="jpg",
        digest=digest,
        size=0,
        metadata={"path": str(path)},
    )


def _names(files: Sequence[PhotoFile]) -> dict[str, str]:
    """``<class>/<stem>`` per file; where that is taken, with the split's name or a number."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for one in sorted(files, key=lambda file: (file.split != "train", file.file)):
        stem = f"{one.label}/{one.path.stem}"
        split = [f"-{one.split}"] if one.split else []
        tails = itertools.chain(["", *split], (f"-{number}" for number in itertools.count(2)))
        name = next(name for tail in tails if (name := f"{stem}{tail}").casefold() not in taken)
        taken.add(name.casefold())
        names[one.file] = name
    return names
