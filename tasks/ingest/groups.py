"""Groups that the user gives: photos taken together, which no search can know."""

import csv
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path, PurePosixPath

from models.data.find_photos import SPLIT_NAMES
from models.data.formats.food101 import FOOD101
from models.data.formats.oxford_pets import PETS
from models.data.splits.splitting import SplitParameters
from tasks.ingest.find_sources import FoundPhoto

# A file name up to its last separator; a name without one has no group.
_PREFIX = re.compile(r"(.+)[_\-\s]")
# Folders that hold the images of an annotated dataset.
_IMAGE_FOLDERS = {*SPLIT_NAMES, "images", "jpegimages"}


def read_groups(
    photos: Sequence[FoundPhoto], parameters: SplitParameters, refused: Sequence[str] = ()
) -> dict[str, str]:
    """The group of each photo that has one, by file.

    A row of a CSV goes before ``group_pattern``, and that before folders and prefixes.

    Args:
        refused: files that are not used; a CSV may list them.

    Raises:
        ValueError: a CSV can't be read, lacks a column, or lists a photo that is not there.
    """
    groups: dict[str, str | None] = {}
    for photo in photos:
        if parameters.group_by == "folder":
            groups[photo.file] = _folder_of(photo)
        elif parameters.group_by == "prefix":
            prefix = _PREFIX.match(PurePosixPath(photo.file).stem)
            groups[photo.file] = prefix and prefix[1]
        if parameters.group_pattern is not None and (
            match := re.search(parameters.group_pattern, photo.file)
        ):
            groups[photo.file] = "/".join(text or "" for text in match.groups())
    files = {photo.file for photo in photos}
    for field, path in parameters.listed_groups:
        groups |= _read_file(field, path, {*files, *refused})
    return {file: group for file, group in groups.items() if group and file in files}


def link_groups(group_of: Mapping[str, str]) -> list[tuple[str, str]]:
    """The first photo of each group with each other one."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(group, file), file) for file, group in sorted(group_of.items())]
    return [(one, other) for one, other in pairs if one != other]


def _folder_of(photo: FoundPhoto) -> str:
    """The folders between the photo and its class folder, or below the folder of all images."""
    folders = list(PurePosixPath(photo.file).parent.parts)
    if folders and folders[0] in (PETS.name, FOOD101.name):
        folders.pop(0)
    if photo.size is None:
        return "/".join(folders[1 if photo.split is None else 2 :])
    while folders and folders[0].casefold() in _IMAGE_FOLDERS:
        folders.pop(0)
    return "/".join(folders[1 if photo.in_class_folder else 0 :])


def _read_file(field: str, path: Path, files: Container[str]) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{field}: {path} can't be read as CSV ({error}); correct it") from None
    if not rows or not {"file", "group"} <= rows[0].keys():
        raise ValueError(f"{field}: {path} needs the columns file and group, and a row")
    unknown = next((row["file"] for row in rows if row["file"] not in files), None)
    if unknown is not None:
        raise ValueError(
            f"{field}: {path} lists {unknown!r}, which is no photo of this run; give paths below"
            " the photo folder"
        )
    return {row["file"]: row["group"] for row in rows if row["group"]}
