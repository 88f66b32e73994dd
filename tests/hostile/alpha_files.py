"""Photo files with a fourth band: the mask of an object, an empty alpha, or another band."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.hostile.kinds import (
    TAKEN,
    Input,
    Wanted,
    WriteFiles,
    draw_mask,
    draw_picture,
    noted,
)

Rng = np.random.Generator


def write_cut_out(path: Path, rng: Rng, number: int) -> list[Input]:
    """An object on transparency: the alpha is its mask."""
    image = draw_picture(rng)
    if number % 4 == 3:
        coded = image.quantize(200)
        coded.putpalette([*(coded.getpalette() or [])[:600], 0, 0, 0])
        coded.paste(200, mask=draw_mask(rng).point(lambda value: 255 - value))
        file = path.with_name(path.name + ".png")
        return [_save(file, coded, noted("alpha|transparen"), transparency=200)]
    image.putalpha(draw_mask(rng))
    suffix = (".png", ".webp", ".tif")[number % 3]
    return [_save(path.with_name(path.name + suffix), image, noted("alpha|transparen"))]


def write_fourth_band(path: Path, rng: Rng, number: int) -> list[Input]:
    """A TIFF of four bands, such as infrared: the fourth is no alpha."""
    bands = [*draw_picture(rng).split(), draw_picture(rng).convert("L")]
    pixels = np.dstack([np.asarray(band) for band in bands])
    file = path.with_name(path.name + ".tif")
    tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=["unspecified"])
    return [Input(file, noted("band|alpha"))]


def write_opaque(path: Path, rng: Rng, number: int) -> list[Input]:
    """An alpha that hides nothing."""
    image = draw_picture(rng)
    image.putalpha(255)
    return [_save(path.with_name(path.name + ".png"), image, TAKEN)]


def write_empty_alpha(path: Path, rng: Rng, number: int) -> list[Input]:
    """An alpha that hides everything, over sound colours."""
    image = draw_picture(rng)
    image.putalpha(0)
    wanted = Wanted(("noted", "refused"), "alpha|transparent")
    return [_save(path.with_name(path.name + ".png"), image, wanted)]


KINDS: dict[str, WriteFiles] = {
    "cut-out": write_cut_out,
    "fourth band": write_fourth_band,
    "opaque alpha": write_opaque,
    "empty alpha": write_empty_alpha,
}


def _save(path: Path, image: Image.Image, wanted: Wanted, **how: object) -> Input:
    image.save(path, **how)
    return Input(path, wanted)
