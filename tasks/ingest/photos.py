"""Ingest: photo files become photos in the store, upright RGB; what can't be read is refused by
name.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from models.data.find_photos import PhotoFile, Refused, find_photos
from models.data.near_duplicates import HashedPhoto
from models.data.read_photo import PhotoRejectedError, read_photo
from models.data.records import Annotation, Artifact, Record, SourceImage, Sources
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
        except PhotoRejectedError as reason:
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
    run: RunContext, folder: Path, parameters: Ingest, splits: SplitParameters
) -> Sources:
    """Find, read, hash and split the photos of a folder; other files are refused by name.

    Raises:
        ValueError: the folder has no photos by class, or a class is too small to be split.
    """
    files, not_photos = find_photos(folder)
    stored = {file.file: as_artifact(file.path, file.file) for file in files}
    photos = {
        artifact.name: artifact for artifact in ingest(run, parameters, list(stored.values()))
    }
    unreadable = [
        Refused(artifact.name, artifact.reject_reason)
        for artifact in run.made.values()
        if artifact.stage == ingest.name and artifact.name in stored and artifact.reject_reason
    ]
    hashed = [
        HashedPhoto(
            file=file.file,
            label=file.label,
            given_split=file.split,
            digest=stored[file.file].digest,
            dhash=int(photos[file.file].metadata["dhash"], 16),
            dhash_mirrored=int(photos[file.file].metadata["dhash_mirrored"], 16),
        )
        for file in files
        if file.file in photos
    ]
    result = split(hashed, splits)
    names = _names(files)
    images = [
        SourceImage(
            name=names[file.file],
            file=file.file,
            split=result.assigned[file.file],
            image=photos[file.file].model_copy(update={"name": names[file.file]}),
            annotations=(Annotation(label=file.label),),
            prompt=file.prompt,
        )
        for file in files
        if file.file in result.assigned
    ]
    refused = sorted(
        (found.file, found.reason) for found in [*not_photos, *unreadable, *result.refused]
    )
    converted = [
        f"{name}: {', '.join(photo.metadata['notes'])}"
        for name, photo in sorted(photos.items())
        if photo.metadata["notes"]
    ]
    return Sources(
        images=tuple(sorted(images, key=lambda image: image.name)),
        refused=tuple(refused),
        notes=(*result.notes, *converted),
    )


def as_artifact(path: Path, name: str) -> Artifact:
    """The file as an input of a stage: the user's folder keeps its bytes, not the store."""
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
    for file in sorted(files, key=lambda file: (file.split != "train", file.file)):
        stem = f"{file.label}/{file.path.stem}"
        given = [f"-{file.split}"] if file.split else []
        tails = itertools.chain(["", *given], (f"-{number}" for number in itertools.count(2)))
        name = next(name for tail in tails if (name := f"{stem}{tail}").casefold() not in taken)
        taken.add(name.casefold())
        names[file.file] = name
    return names
