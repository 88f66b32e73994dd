"""One reference photo's contact sheet as a single picture: the stages down, their images across."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from models.pixels import Pixels
from models.report_images import draw_thumb
from models.report_input import Sheet, SheetRow, Thumb

# Sizes in px, for a sheet that is read at full size on a page about 1,400 px wide.
_MARGIN, _GAP, _WORDS, _ACROSS = 36, 10, 250, 1080
_TALLEST, _LINE, _CAPTION = 176, 19, 22
_PAPER, _INK, _MUTED, _RULE = (255, 255, 255), (20, 24, 31), (91, 100, 114), (223, 227, 232)


@dataclass(frozen=True)
class _Placed:
    picture: Pixels
    caption: str
    left: int
    top: int


def contact_sheet(sheet: Sheet) -> Pixels:
    """One reference photo's sheet as HxWx3 RGB, 1,438 px wide and as tall as its rows need.

    Rows keep their order; a row's pictures share one height and wrap where the sheet ends.

    Raises:
        ValueError: a thumbnail is no picture that can be drawn.
    """
    laid_out = [_lay_out(row.thumbs) for row in sheet.rows]
    heights = [
        max(_height_of(placed), _height_of_words(row))
        for row, placed in zip(sheet.rows, laid_out, strict=True)
    ]
    head = 78
    canvas = Image.new(
        "RGB", (2 * _MARGIN + _WORDS + _ACROSS, head + sum(heights) + _MARGIN), _PAPER
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, 24), sheet.reference, _INK, _font(24, "-Bold"))
    told = f"class {sheet.label}"
    right = canvas.width - _MARGIN
    draw.text((right, 32), told, _MUTED, _font(15), anchor="ra")
    top = head
    for row, placed, height in zip(sheet.rows, laid_out, heights, strict=True):
        draw.line((_MARGIN, top, right, top), _RULE, 1)
        _write_words(draw, row, top)
        _paste(canvas, draw, placed, top)
        top += height
    return np.asarray(canvas, np.uint8)


def _lay_out(thumbs: Sequence[Thumb]) -> list[_Placed]:
    """Pictures of equal height, left to right, wrapped at the sheet's width."""
    placed: list[_Placed] = []
    height = _row_height(thumbs)
    left = top = 0
    for thumb in thumbs:
        picture = _at_height(thumb, height)
        if left and left + picture.shape[1] > _ACROSS:
            left, top = 0, top + height + _CAPTION + _GAP
        placed.append(_Placed(picture, thumb.title or thumb.caption, left, top))
        left += picture.shape[1] + _GAP
    return placed


def _row_height(thumbs: Sequence[Thumb]) -> int:
    """The height at which all pictures stand side by side, within 112..176 px."""
    aspects = sum(thumb.pixels.shape[1] / thumb.pixels.shape[0] for thumb in thumbs)
    room = _ACROSS - _GAP * (len(thumbs) - 1)
    return int(min(_TALLEST, max(112, room / aspects))) if thumbs else 0


def _at_height(thumb: Thumb, height: int) -> Pixels:
    tall, wide = thumb.pixels.shape[:2]
    width = max(1, min(_ACROSS, round(wide * height / tall)))
    drawn = draw_thumb(thumb, 2 * max(height, width))
    return np.asarray(Image.fromarray(drawn).resize((width, height), Image.Resampling.LANCZOS))


def _height_of(placed: Sequence[_Placed]) -> int:
    if not placed:
        return 0
    last = placed[-1]
    return last.top + int(last.picture.shape[0]) + _CAPTION + 2 * _GAP + 8


def _height_of_words(row: SheetRow) -> int:
    return 14 + 26 + _LINE * (len(_wrap(row.explanation, _font(13))) + 1) + 16


def _write_words(draw: ImageDraw.ImageDraw, row: SheetRow, top: int) -> None:
    draw.text((_MARGIN, top + 14), row.stage, _INK, _font(16, "-Bold"))
    shown = len(row.thumbs)
    lines = _wrap(row.explanation, _font(13))
    if row.total > shown:
        lines = [*lines, f"{shown} of {row.total:,} shown"]
    for place, line in enumerate(lines):
        draw.text((_MARGIN, top + 42 + _LINE * place), line, _MUTED, _font(13))


def _paste(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, placed: Sequence[_Placed], top: int
) -> None:
    for one in placed:
        height, width = one.picture.shape[:2]
        left = _MARGIN + _WORDS + one.left
        upper = top + 14 + one.top
        canvas.paste(Image.fromarray(one.picture), (left, upper))
        words = _shorten(one.caption, width, _font(11))
        draw.text((left, upper + height + 4), words, _MUTED, _font(11))


def _wrap(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= _WORDS - 28:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _shorten(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""


@lru_cache
def _font(size: int, weight: str = "") -> ImageFont.FreeTypeFont:
    # Matplotlib's own font files, none of the machine's: every machine draws the same sheet.
    fonts = Path(get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(fonts / f"DejaVuSans{weight}.ttf", size)
