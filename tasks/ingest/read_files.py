"""Ingest: photo files become normalised photos in the store; what can't be used is refused."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from models.data.files import ChangedFileError, read_unchanged
from models.data.find_photos import Refused
from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file.alpha import AlphaUse
from models.data.photo_file.value_range import ValueRange
from models.data.pixels import add_alpha
from models.data.read_photo import read_photo
from models.data.records import Artifact, Record
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.ingest.crop import describe_pixels
from tasks.ingest.find_sources import Layout, ObjectUse

# Files that are in memory at a time, between being hashed and being decoded.
FILES_AT_A_TIME = 32


class Ingest(Record):
    """Which photos are taken, and what becomes of the objects that are annotated in them."""

    # They decide what is read, and not the pixels of a normalised photo.
    NON_KEY_FIELDS: ClassVar = frozenset({"format", "objects", "crop_margin"})

    max_side: int = Field(2048, ge=64, le=16384, description="Larger photos are scaled down, px.")
    min_side: int = Field(
        32,
        ge=8,
        le=4096,
        description="Smaller photos and objects are refused, px.",
    )
    max_pixels: int = Field(
        100_000_000, ge=1_000_000, description="Photos of more pixels are refused unread."
    )
    value_range: ValueRange = Field(
        "auto",
        description="How photos of more than 8 bits are scaled. full: by their range; auto: the "
        "same, but a photo of fewer than 16 grey levels is stretched; [low, high]: these values "
        "become black and white in all photos.",
    )
    alpha: AlphaUse = Field(
        "mask",
        description="mask: the alpha of a cut-out is the mask of its object; ignore: no alpha is "
        "used.",
    )
    format: Layout = Field(
        "auto", description="How the photo folder is laid out; auto: as its files say."
    )
    objects: ObjectUse = Field(
        "crop",
        description="crop: an image per annotated object. image: whole photos, each with objects "
        "of one class. scene: whole photos with objects of any classes, or none; the default where "
        "train.task is detection.",
    )
    crop_margin: float = Field(
        0.1, ge=0, le=2, description="Added on each side of a crop, as a share of the object."
    )


@stage("ingest", version=4)
def ingest(inputs: Sequence[StageInput], parameters: Ingest) -> Iterator[StageOutput]:
    """Normalised photos, RGB or, of cut-outs, RGB + alpha.

    ``metadata`` holds their hashes, sizes and conversions.
    """
    for item in inputs:
        try:
            photo = read_photo(
                item.job.inputs[0].metadata["content"],
                max_pixels=parameters.max_pixels,
                max_side=parameters.max_side,
                min_side=parameters.min_side,
                value_range=parameters.value_range,
                alpha=parameters.alpha,
            )
        except PhotoRejectedError as reason:
            yield StageOutput(reject_reason=str(reason))
            continue
        metadata = describe_pixels(photo.pixels, photo.notes)
        metadata["file_size"] = list(photo.file_size)
        pixels = photo.pixels if photo.alpha is None else add_alpha(photo.pixels, photo.alpha)
        yield StageOutput(pixels, metadata=metadata)


@dataclass(frozen=True)
class ReadFiles:
    """The normalised photos and the digests of their files' bytes by name, and refused files."""

    photos: dict[str, Artifact]
    digests: dict[str, str]
    refused: tuple[Refused, ...]


def ingest_files(run: RunContext, parameters: Ingest, files: Mapping[str, Path]) -> ReadFiles:
    """Read and normalise photo files, each once, so that the bytes that are hashed are decoded.

    Args:
        files: the path of each file by the name that it gets.
    """
    photos: dict[str, Artifact] = {}
    digests: dict[str, str] = {}
    refused: list[Refused] = []
    listed = list(files.items())
    for first in range(0, len(listed), FILES_AT_A_TIME):
        contents: list[Artifact] = []
        for name, path in listed[first : first + FILES_AT_A_TIME]:
            try:
                contents.append(as_artifact(name, read_unchanged(path)))
            except OSError as error:
                refused.append(Refused(name, f"can't be read ({error.strerror})"))
            except ChangedFileError as error:
                refused.append(Refused(name, str(error)))
        photos |= {photo.name: photo for photo in ingest(run, parameters, contents)}
        for content in contents:
            if content.name in photos:
                digests[content.name] = content.digest
            else:
                rejected = run.made[f"{ingest.name}/{ingest.key(Job((content,)), parameters)}"]
                refused.append(Refused(content.name, rejected.reject_reason or ""))
    return ReadFiles(photos, digests, tuple(refused))


def as_artifact(name: str, content: bytes) -> Artifact:
    """A file as an input of a stage: the user's folder keeps its bytes, not the store."""
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(
        key=digest,
        stage="file",
        version=1,
        name=name,
        media="jpg",
        digest=digest,
        size=len(content),
        metadata={"content": content},
    )
