"""Groups that the user gives: photos taken together, which no search can know."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from models.data.splitting import SplitParameters


def read_groups(files: Sequence[str], parameters: SplitParameters) -> dict[str, str]:
    """The group of each photo that has one, by file.

    The file ``group_file`` decides; photos that it doesn't list may match ``group_pattern``.

    Raises:
        ValueError: the file can't be read, lacks a column, or lists a photo that is not there.
    """
    groups: dict[str, str] = {}
    if parameters.group_pattern is not None:
        for file in files:
            if match := re.search(parameters.group_pattern, file):
                groups[file] = "/".join(text or "" for text in match.groups())
    if parameters.group_file is not None:
        groups |= _read_file(parameters.group_file, set(files))
    return groups


def link_groups(group_of: Mapping[str, str]) -> list[tuple[str, str]]:
    """The first photo of each group with each other one."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(group, file), file) for file, group in sorted(group_of.items())]
    return [(one, other) for one, other in pairs if one != other]


def _read_file(path: Path, files: Iterable[str]) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"split.group_file: {path} can't be read as CSV ({error}); correct it"
        ) from None
    if not rows or not {"file", "group"} <= rows[0].keys():
        raise ValueError(f"split.group_file: {path} needs the columns file and group, and a row")
    known = set(files)
    unknown = next((row["file"] for row in rows if row["file"] not in known), None)
    if unknown is not None:
        raise ValueError(
            f"split.group_file: {path} lists {unknown!r}, which is no photo of this run; give paths"
            " below the photo folder"
        )
    return {row["file"]: row["group"] for row in rows if row["group"]}
