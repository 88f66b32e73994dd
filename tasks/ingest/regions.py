"""Regions: masks of where new objects may be, one for all photos or one per photo."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from models.data.photo_file.open_image import SUFFIXES
from models.data.records import Artifact, Record
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.ingest.read_files import as_artifact


class Region(Record):
    """A region has no settings."""


def list_regions(path: Path) -> dict[str, Path]:
    """The files of masks by the names of the photos that they are of; opens none.

    A file is of all photos, whose name is then empty. In a folder, each file is of the photo with
    the same name, whatever the ending.

    Raises:
        ValueError: there is no such file or folder, the folder holds no picture, or two of the
            same name.
    """
    if path.is_file():
        return {"": path}
    if not path.is_dir():
        raise ValueError(f"regions: {path} is no file and no folder; name a mask or their folder")
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in SUFFIXES:
            continue
        if file.stem in files:
            raise ValueError(
                f"regions: {files[file.stem].name} and {file.name} are of the same photo; keep one"
            )
        files[file.stem] = file
    if not files:
        raise ValueError(f"regions: {path} holds no picture; add a mask per photo")
    return files


def ingest_regions(run: RunContext, path: Path | None) -> list[Artifact]:
    """The masks of a file or of a folder; none without it.

    Raises:
        ValueError: `list_regions` finds none, or a file is no picture or has no px inside.
        OSError: a file can't be read.
    """
    if path is None:
        return []
    files = list_regions(path)
    contents = [as_artifact(name, file.read_bytes()) for name, file in files.items()]
    made = region(run, Region(), contents)
    for content in contents:
        artifact = run.made[f"{region.name}/{region.key(_job_of(content), Region())}"]
        if artifact.reject_reason is not None:
            raise ValueError(f"regions: {files[content.name]} {artifact.reject_reason}")
    return made


def _job_of(content: Artifact) -> Job:
    return Job((content,), {"of": content.name}, name=f"regions/{content.name or 'all'}")


def one_per_file(_parameters: Region, contents: Sequence[Artifact]) -> list[Job]:
    """A job per file; its variant names the photo that it is of."""
    return [_job_of(content) for content in contents]


@stage("region", version=1, plan=one_per_file)
def region(inputs: Sequence[StageInput], _parameters: Region) -> Iterator[StageOutput]:
    """Masks, uint8 HxW, 255 inside: where the picture is light grey or white, 128 and more."""
    for item in inputs:
        blob = np.frombuffer(item.job.inputs[0].metadata["content"], np.uint8)
        grey = cv2.imdecode(blob, cv2.IMREAD_GRAYSCALE)
        if grey is None:
            yield StageOutput(reject_reason="is no picture; give PNG masks")
            continue
        mask = np.where(grey >= 128, 255, 0).astype(np.uint8)
        if mask.any():
            yield StageOutput(mask)
        else:
            yield StageOutput(reject_reason="has no px of 128 or more; make white where objects go")
