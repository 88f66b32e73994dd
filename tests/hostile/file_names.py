"""Names that people and cameras give to photos."""

import os
from pathlib import Path

import numpy as np

from tests.hostile.kinds import TAKEN, FileKind, Input, Wanted, draw_picture, refused

Rng = np.random.Generator
_UNUSUAL = (
    *("一二三", "фото", "صورة", "कुत्ता", "größe", "naïve café", "🐕‍🦺", "e\u0301te\u0301"),
    *("[red]bold[red]", "[bold]", "{name}", "a'b\"c", "50% off", "a#b?c", "semi;colon", "$HOME"),
    *("-rf", "con", "a..b", "a\\b", "tab le", "  two  ", "<b>", "C:", "null", "1e5", "%s"),
)
_LETTERS = ("x", "ж", "写")
# The second of a pair equals the first after case, accents' encoding, suffix or blanks are cleaned.
_ALIKE = (
    (" A.png", " a.png"),
    (" caf\u00e9.png", " cafe\u0301.png"),
    (".png", ".jpg"),
    (" 1.png", "_1.png"),
    ("-.png", "+.png"),
)
_UPPER_SUFFIXES = (".JPG", ".PNG", ".Jpeg", ".TIF")
_FOLDERS = (("2024", "May 1"), ("train",), ("test",), ("photo.jpg",), ("images", "訓練"))
_MARKS = ("\n", "\x1b[31m", "\t", "\u202e", "\u2028", "\x7f")


def write_unusual(path: Path, rng: Rng, case: int) -> list[Input]:
    """Other scripts, emoji, blanks, and characters that shells, markup or formats read."""
    name = _UNUSUAL[case]
    return [_save(path.with_name(f"{name} {path.name}.png"), rng, TAKEN)]


def write_long(path: Path, rng: Rng, case: int) -> list[Input]:
    """A name as long as the file system takes it."""
    letter = _LETTERS[case]
    rest = 250 - len(path.name)
    return [_save(path.with_name(f"{path.name}{letter * (rest // len(letter.encode()))}.png"), rng)]


def write_alike(path: Path, rng: Rng, case: int) -> list[Input]:
    """Two names that are the same after case, accents' encoding, suffix or blanks are cleaned."""
    return [_save(path.with_name(path.name + ending), rng) for ending in _ALIKE[case]]


def write_upper_suffix(path: Path, rng: Rng, case: int) -> list[Input]:
    """The suffix as cameras write it."""
    return [_save(path.with_name(path.name + _UPPER_SUFFIXES[case]), rng)]


def write_in_folders(path: Path, rng: Rng, case: int) -> list[Input]:
    """Folders in a class folder, also with the names of splits and of photos."""
    folder = path.parent.joinpath(path.name, *_FOLDERS[case])
    folder.mkdir(parents=True)
    return [_save(folder / f"{path.name}.png", rng)]


def write_control_characters(path: Path, rng: Rng, case: int) -> list[Input]:
    """Line ends, escape sequences, and marks that reverse the reading direction."""
    name = f"{path.name}{_MARKS[case]}x.png"
    return [_save(path.with_name(name), rng, refused("control characters"))]


def write_broken_encoding(path: Path, rng: Rng, case: int) -> list[Input]:
    """A name in an older encoding, which is no UTF-8."""
    name = os.fsdecode(path.name.encode() + "gr\xf6\xdfe".encode("latin-1") + b".png")
    return [_save(path.with_name(name), rng, refused("not valid UTF-8"))]


KINDS: dict[str, FileKind] = {
    "unusual name": FileKind(write_unusual, len(_UNUSUAL)),
    "long name": FileKind(write_long, len(_LETTERS)),
    "names alike": FileKind(write_alike, len(_ALIKE)),
    "upper suffix": FileKind(write_upper_suffix, len(_UPPER_SUFFIXES)),
    "in folders": FileKind(write_in_folders, len(_FOLDERS)),
    "control characters": FileKind(write_control_characters, len(_MARKS)),
    "broken encoding": FileKind(write_broken_encoding),
}


def _save(file: Path, rng: Rng, wanted: Wanted = TAKEN) -> Input:
    form = "JPEG" if file.suffix.lower() in (".jpg", ".jpeg") else None
    form = form or {".tif": "TIFF"}.get(file.suffix.lower(), "PNG")
    draw_picture(rng).save(file, form)
    return Input(file, wanted)
