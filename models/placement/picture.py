"""The picture of a placement: a scene with its real and new boxes, before anything is painted."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from models.data.objects import scale_box
from models.data.pixels import Bools, Pixels, resize
from models.data.records import Box

# Colours that people with any colour vision tell apart (Okabe and Ito, 2008).
REAL, NEW = (86, 180, 233), (230, 159, 0)
# How dark a scene is outside of its region.
_OUTSIDE = 0.4
_PAPER, _INK, _TEXT, _LINE = (255, 255, 255), (20, 24, 31), 15, 24


def draw_picture(
    scene: Pixels,
    real: Sequence[Box],
    new: Sequence[tuple[Box, float | None]],
    label: str,
    region: Bools | None,
    longest_side: int,
) -> Pixels:
    """The scene with boxes in two colours, dark outside of the region, and a legend below.

    Args:
        scene: uint8 HxWx3 RGB.
        real: boxes of real objects: x, y, width, height in px.
        new: boxes of new objects, each with its score, if it has one.
        label: the class of the new objects.
        region: bool HxW, True where new objects may be; None: everywhere.
        longest_side: longer side of the drawn scene, px; small scenes are enlarged.

    Returns:
        uint8 RGB; the legend adds to the height.
    """
    height, width = scene.shape[:2]
    scale = longest_side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = resize(scene, *size, scale=scale)
    if region is not None:
        inside = np.asarray(Image.fromarray(region).resize(size, Image.Resampling.NEAREST))
        shown[~inside] = np.rint(shown[~inside] * _OUTSIDE).astype(np.uint8)
    lines: list[tuple[tuple[int, int, int] | None, str]] = [
        (REAL, f"real objects: {len(real)}"),
        (NEW, f"new, {label}: {len(new)}"),
    ]
    if region is not None:
        lines.append((None, "dark: outside of the region"))
    canvas = Image.new("RGB", (size[0], size[1] + _LINE * len(lines) + 8), _PAPER)
    canvas.paste(Image.fromarray(shown))
    draw = ImageDraw.Draw(canvas)
    for box in real:
        _outline(draw, scale_box(box, scale, scale), REAL)
    for box, score in new:
        _outline(draw, scale_box(box, scale, scale), NEW, "" if score is None else f"{score:.2f}")
    for number, (colour, text) in enumerate(lines):
        top = size[1] + 6 + number * _LINE
        if colour is not None:
            draw.rectangle((8, top + 2, 26, top + 16), colour)
        draw.text((34, top), text, _INK, _font(_TEXT))
    return np.asarray(canvas, np.uint8)


def _outline(
    draw: ImageDraw.ImageDraw, box: Box, colour: tuple[int, int, int], text: str = ""
) -> None:
    x, y, width, height = box
    # A dark line around the coloured one: it is seen on any ground.
    draw.rectangle((x - 2, y - 2, x + width + 1, y + height + 1), outline=_INK, width=1)
    draw.rectangle((x - 1, y - 1, x + width, y + height), outline=colour, width=2)
    if text:
        draw.text(
            (x, y - 3), text, colour, _font(12), anchor="ls", stroke_width=2, stroke_fill=_INK
        )


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The fonts that matplotlib brings, so that every machine draws the same picture.
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
