"""Photo files that hold every pixel, in all the ways in which cameras and programs write them."""

import itertools
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from models.data.photo_file.open_image import readable_formats
from tests.hostile.kinds import (
    SIZE,
    TAKEN,
    FileKind,
    Input,
    Wanted,
    draw_picture,
    noted,
)

Rng = np.random.Generator
_SIDEWAYS = SIZE[::-1]
_ORIENTATION = 0x0112
_FORMATS: tuple[tuple[str, dict[str, object]], ...] = (
    (".jpg", {"quality": 90}),
    (".jpeg", {"quality": 80, "progressive": True}),
    (".jpg", {"quality": 95, "subsampling": 0, "optimize": True}),
    (".png", {}),
    (".webp", {"quality": 90}),
    (".webp", {"lossless": True}),
    (".bmp", {}),
    (".gif", {}),
    (".tif", {"compression": "tiff_lzw"}),
    (".tiff", {"compression": "tiff_adobe_deflate"}),
    (".ppm", {}),
    (".jp2", {}),
    (".avif", {}),
    (".heic", {}),
)
_WRONG_SUFFIXES = (("JPEG", ".png"), ("PNG", ".jpg"), ("WEBP", ".jpeg"), ("TIFF", ".bmp"))
_TURNING = (".jpg", ".png", ".webp", ".tif")
_TURNS = tuple(itertools.product(range(2, 9), _TURNING))
_MODES: tuple[tuple[str, str, Wanted], ...] = (
    ("L", ".png", noted("greyscale copied")),
    ("L", ".jpg", noted("greyscale copied")),
    ("1", ".png", noted("greyscale copied")),
    ("P", ".png", TAKEN),
    ("CMYK", ".jpg", noted("CMYK converted")),
    ("CMYK", ".tif", noted("CMYK converted")),
)
# The factor of an 8-bit value, and the note: values use the whole range or its lowest 12 bits.
_DEPTHS = tuple(
    itertools.product(((257, "16-bit scaled"), (16, "12-bit scaled")), (".png", ".tif"))
)
_ANIMATIONS = (".gif", ".webp", ".png")


def write_format(path: Path, rng: Rng, case: int) -> list[Input]:
    """Every format that photos have, with its options."""
    readable_formats()  # tells Pillow how HEIC is written
    suffix, how = _FORMATS[case]
    return [_save(path.with_name(path.name + suffix), draw_picture(rng), TAKEN, **how)]


def write_wrong_suffix(path: Path, rng: Rng, case: int) -> list[Input]:
    """The content of one format under the suffix of another."""
    form, suffix = _WRONG_SUFFIXES[case]
    return [_save(path.with_name(path.name + suffix), draw_picture(rng), TAKEN, format=form)]


def write_turned(path: Path, rng: Rng, case: int) -> list[Input]:
    """An EXIF orientation."""
    orientation, suffix = _TURNS[case]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    wanted = noted(f"orientation {orientation}", _SIDEWAYS if orientation > 4 else SIZE)
    return [_save(path.with_name(path.name + suffix), draw_picture(rng), wanted, exif=exif)]


def write_colours(path: Path, rng: Rng, case: int) -> list[Input]:
    """Grey, palette, black and white, and CMYK."""
    mode, suffix, wanted = _MODES[case]
    return [_save(path.with_name(path.name + suffix), draw_picture(rng).convert(mode), wanted)]


def write_deep(path: Path, rng: Rng, case: int) -> list[Input]:
    """16 bits a value, over the whole range or the lowest 12 bits of it."""
    (scale, says), suffix = _DEPTHS[case]
    grey = np.asarray(draw_picture(rng).convert("L"), np.uint16)
    image = Image.fromarray(grey * np.uint16(scale))
    return [_save(path.with_name(path.name + suffix), image, noted(says))]


def write_deep_colours(path: Path, rng: Rng, case: int) -> list[Input]:
    """16 bits a value in colour."""
    colours = np.asarray(draw_picture(rng), np.uint16) * np.uint16(257)
    file = path.with_name(path.name + ".png")
    cv2.imwrite(str(file), np.ascontiguousarray(colours[..., ::-1]))
    return [Input(file, noted("16-bit scaled"))]


def write_narrow(path: Path, rng: Rng, case: int) -> list[Input]:
    """16 bits a value of which a thermal camera uses a few hundred."""
    grey = np.asarray(draw_picture(rng).convert("L"), np.uint16)
    image = Image.fromarray(np.uint16(rng.integers(20_000, 60_000)) + grey)
    wanted = noted("stretched to all")
    return [_save(path.with_name(path.name + ".png"), image, wanted)]


def write_floats(path: Path, rng: Rng, case: int) -> list[Input]:
    """Floats from 0 to 1."""
    grey = np.asarray(draw_picture(rng).convert("L"), np.float32) / 255
    return [
        _save(
            path.with_name(path.name + ".tif"), Image.fromarray(grey), noted("float values scaled")
        )
    ]


def write_animation(path: Path, rng: Rng, case: int) -> list[Input]:
    """Several frames of one size."""
    suffix = _ANIMATIONS[case]
    frames = [draw_picture(rng) for _ in range(3)]
    how = {"save_all": True, "append_images": frames[1:], "duration": 100}
    return [_save(path.with_name(path.name + suffix), frames[0], noted("first frame of 3"), **how)]


def write_pages(path: Path, rng: Rng, case: int) -> list[Input]:
    """A TIFF whose first page is a thumbnail of the second."""
    large = draw_picture(rng)
    pages = [large.resize((48, 36)), large]
    how = {"save_all": True, "append_images": pages[1:]}
    return [
        _save(
            path.with_name(path.name + ".tif"),
            pages[0],
            noted("page 2 of 2, the largest", SIZE),
            **how,
        )
    ]


def write_large(path: Path, rng: Rng, case: int) -> list[Input]:
    """More pixels than the recipe wants (`ingest.max_side`)."""
    size = (700, int(rng.integers(300, 700)))
    wanted = noted(f"scaled down from {size[0]}x{size[1]}")
    return [_save(path.with_name(path.name + ".jpg"), draw_picture(rng, size), wanted)]


KINDS: dict[str, FileKind] = {
    "a format": FileKind(write_format, len(_FORMATS)),
    "another suffix": FileKind(write_wrong_suffix, len(_WRONG_SUFFIXES)),
    "orientation": FileKind(write_turned, len(_TURNS)),
    "colours": FileKind(write_colours, len(_MODES)),
    "16 bits": FileKind(write_deep, len(_DEPTHS)),
    "16 bits, colour": FileKind(write_deep_colours),
    "16 bits, narrow": FileKind(write_narrow),
    "floats": FileKind(write_floats),
    "animation": FileKind(write_animation, len(_ANIMATIONS)),
    "pages": FileKind(write_pages),
    "large": FileKind(write_large),
}


def _save(path: Path, image: Image.Image, wanted: Wanted, **how: object) -> Input:
    image.save(path, **how)
    return Input(path, wanted)
