"""Names that people and cameras give to photos."""

import os
import unicodedata
from pathlib import Path

import numpy as np

from tests.hostile.kinds import TAKEN, Input, Wanted, WriteFiles, draw_picture, refused

Rng = np.random.Generator
_UNUSUAL = (
    *("一二三", "фото", "صورة", "कुत्ता", "größe", "naïve café", "🐕‍🦺", "e\u0301te\u0301"),
    *("[red]bold[/red]", "[/]", "{name}", "a'b\"c", "50% off", "a#b?c", "semi;colon", "$HOME"),
    *("-rf", "con", "a..b", "a\\b", "tab le", "  two  ", "<b>", "C:", "null", "1e5", "%s"),
)


def write_unusual(path: Path, rng: Rng, number: int) -> list[Input]:
    """Other scripts, emoji, blanks, and characters that shells, markup or formats read."""
    name = _UNUSUAL[number % len(_UNUSUAL)]
    return [_save(path.with_name(f"{name} {path.name}.png"), rng, TAKEN)]


def write_long(path: Path, rng: Rng, number: int) -> list[Input]:
    """A name as long as the file system takes it."""
    letter = ("x", "ж", "写")[number % 3]
    rest = 250 - len(path.name)
    return [_save(path.with_name(f"{path.name}{letter * (rest // len(letter.encode()))}.png"), rng)]


def write_alike(path: Path, rng: Rng, number: int) -> list[Input]:
    """Two names that are the same after case, accents' encoding, suffix or blanks are cleaned."""
    composed = f"{path.name} café"
    pairs = (
        (f"{path.name} A.png", f"{path.name} a.png"),
        (f"{composed}.png", f"{unicodedata.normalize('NFD', composed)}.png"),
        (f"{path.name}.png", f"{path.name}.jpg"),
        (f"{path.name} 1.png", f"{path.name}_1.png"),
        (f"{path.name}-.png", f"{path.name}+.png"),
    )
    first, second = pairs[number % len(pairs)]
    return [_save(path.with_name(first), rng), _save(path.with_name(second), rng)]


def write_upper_suffix(path: Path, rng: Rng, number: int) -> list[Input]:
    """The suffix as cameras write it."""
    suffix = (".JPG", ".PNG", ".Jpeg", ".TIF")[number % 4]
    return [_save(path.with_name(path.name + suffix), rng)]


def write_in_folders(path: Path, rng: Rng, number: int) -> list[Input]:
    """Folders in a class folder, also with the names of splits and of photos."""
    names = (("2024", "May 1"), ("train",), ("test",), (f"{path.name}.jpg",), ("images", "訓練"))
    folder = path.parent.joinpath(path.name, *names[number % len(names)])
    folder.mkdir(parents=True)
    return [_save(folder / f"{path.name}.png", rng)]


def write_control_characters(path: Path, rng: Rng, number: int) -> list[Input]:
    """Line ends, escape sequences, and marks that reverse the reading direction."""
    marks = ("\n", "\x1b[31m", "\t", "\u202e", "\u2028", "\x7f")
    name = f"{path.name}{marks[number % len(marks)]}x.png"
    return [_save(path.with_name(name), rng, refused("control characters"))]


def write_broken_encoding(path: Path, rng: Rng, number: int) -> list[Input]:
    """A name in an older encoding, which is no UTF-8."""
    name = os.fsdecode(path.name.encode() + "gr\xf6\xdfe".encode("latin-1") + b".png")
    return [_save(path.with_name(name), rng, refused("not valid UTF-8"))]


KINDS: dict[str, WriteFiles] = {
    "unusual name": write_unusual,
    "long name": write_long,
    "names alike": write_alike,
    "upper suffix": write_upper_suffix,
    "in folders": write_in_folders,
    "control characters": write_control_characters,
    "broken encoding": write_broken_encoding,
}


def _save(file: Path, rng: Rng, wanted: Wanted = TAKEN) -> Input:
    form = "JPEG" if file.suffix.lower() in (".jpg", ".jpeg") else None
    form = form or {".tif": "TIFF"}.get(file.suffix.lower(), "PNG")
    draw_picture(rng).save(file, form)
    return Input(file, wanted)
