"""Photo files with a fourth band: the mask of an object, an empty alpha, or another band."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.hostile.kinds import (
    TAKEN,
    FileKind,
    Input,
    Wanted,
    draw_mask,
    draw_picture,
    noted,
)

Rng = np.random.Generator
_SUFFIXES = (".png", ".webp", ".tif")


def write_cut_out(path: Path, rng: Rng, case: int) -> list[Input]:
    """An object on transparency: the alpha is its mask."""
    image = draw_picture(rng)
    image.putalpha(draw_mask(rng))
    file = path.with_name(path.name + _SUFFIXES[case])
    return [_save(file, image, noted("alpha used as the object's mask"))]


def write_palette_cut_out(path: Path, rng: Rng, case: int) -> list[Input]:
    """An object on the transparent colour of a palette."""
    coded = draw_picture(rng).quantize(200)
    coded.putpalette([*(coded.getpalette() or [])[:600], 0, 0, 0])
    coded.paste(200, mask=draw_mask(rng).point(lambda value: 255 - value))
    file = path.with_name(path.name + ".png")
    return [_save(file, coded, noted("alpha used as the object's mask"), transparency=200)]


def write_fourth_band(path: Path, rng: Rng, case: int) -> list[Input]:
    """A TIFF of four bands, such as infrared: the fourth is no alpha."""
    bands = [*draw_picture(rng).split(), draw_picture(rng).convert("L")]
    pixels = np.dstack([np.asarray(band) for band in bands])
    file = path.with_name(path.name + ".tif")
    tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=["unspecified"])
    return [Input(file, noted("band 4 of 4 is not used"))]


def write_opaque(path: Path, rng: Rng, case: int) -> list[Input]:
    """An alpha that hides nothing."""
    image = draw_picture(rng)
    image.putalpha(255)
    return [_save(path.with_name(path.name + ".png"), image, TAKEN)]


def write_empty_alpha(path: Path, rng: Rng, case: int) -> list[Input]:
    """An alpha that hides everything, over sound colours."""
    image = draw_picture(rng)
    image.putalpha(0)
    wanted = noted("alpha not used, it holds no object")
    return [_save(path.with_name(path.name + ".png"), image, wanted)]


KINDS: dict[str, FileKind] = {
    "cut-out": FileKind(write_cut_out, len(_SUFFIXES)),
    "cut-out, palette": FileKind(write_palette_cut_out),
    "fourth band": FileKind(write_fourth_band),
    "opaque alpha": FileKind(write_opaque),
    "empty alpha": FileKind(write_empty_alpha),
}


def _save(path: Path, image: Image.Image, wanted: Wanted, **how: object) -> Input:
    image.save(path, **how)
    return Input(path, wanted)
