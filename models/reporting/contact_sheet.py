"""One reference photo's contact sheet as a single picture: the stages down, their images across."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from models.data.pixels import Pixels
from models.reporting.input import Gap, Sheet, SheetRow, Thumb
from models.reporting.thumbnails import draw_thumb

# Sizes in px, for a sheet that is read at full size on a page about 1,400 px wide.
_MARGIN, _GAP, _WORDS, _ACROSS = 36, 10, 250, 1080
_TALLEST, _LINE, _CAPTION, _WHAT = 176, 19, 22, 110
_PAPER, _INK, _MUTED, _RULE = (255, 255, 255), (20, 24, 31), (91, 100, 114), (223, 227, 232)
_BAD = (168, 38, 28)


@dataclass(frozen=True)
class _Placed:
    """A picture with the words below it, or a gap of that size with its reason inside."""

    cell: Thumb | Gap
    words: str
    left: int
    top: int
    width: int
    height: int

    @property
    def bottom(self) -> int:
        return self.top + self.height + _CAPTION


def contact_sheet(sheet: Sheet) -> Pixels:
    """One reference photo's sheet as HxWx3 RGB, 1,402 px wide and as tall as its rows need.

    Rows keep their order. The pictures of an aligned row stand in the sheet's columns; those of any
    other share one height and wrap where the sheet ends.

    Raises:
        ValueError: a thumbnail is no picture that can be drawn.
    """
    laid_out = [_lay_out(row, sheet.columns) for row in sheet.rows]
    heights = [
        max(_height_of(row, placed), _height_of_words(row))
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
        _write_stage(draw, row, top)
        _write_words(draw, row, top)
        for one in placed:
            _paste(canvas, draw, one, top + 14 + _height_of_lines(row))
        top += height
    return np.asarray(canvas, np.uint8)


def _lay_out(row: SheetRow, columns: Sequence[str]) -> list[_Placed]:
    if row.aligned and columns:
        return _in_columns(row.thumbs, columns)
    return _side_by_side(row.shown)


def _side_by_side(thumbs: Sequence[Thumb]) -> list[_Placed]:
    """Pictures of equal height, left to right, wrapped at the sheet's width."""
    placed: list[_Placed] = []
    height = _row_height(thumbs)
    left = top = 0
    for thumb in thumbs:
        tall, wide = thumb.pixels.shape[:2]
        width = max(1, min(_ACROSS, round(wide * height / tall)))
        if left and left + width > _ACROSS:
            left, top = 0, top + height + _CAPTION + _GAP
        placed.append(_Placed(thumb, _below(thumb), left, top, width, height))
        left += width + _GAP
    return placed


def _in_columns(cells: Sequence[Thumb | Gap], columns: Sequence[str]) -> list[_Placed]:
    """Lines of as many cells as there are columns; every picture fits into its column, and a gap is
    as large as the pictures beside it."""
    count = len(columns)
    width = min(_TALLEST, (_ACROSS + _GAP) // count - _GAP)
    placed: list[_Placed] = []
    top = 0
    for first in range(0, len(cells), count):
        line = cells[first : first + count]
        sizes = [_within(one, width) if isinstance(one, Thumb) else None for one in line]
        height = max((size[1] for size in sizes if size), default=_TALLEST // 3)
        for at, (cell, size) in enumerate(zip(line, sizes, strict=True)):
            words = _below(cell) or columns[at] if isinstance(cell, Thumb) else ""
            wide, tall = size or (width, height)
            placed.append(_Placed(cell, words, at * (width + _GAP), top, wide, tall))
        top += height + _CAPTION + _GAP
    return placed


def _within(thumb: Thumb, side: int) -> tuple[int, int]:
    """Width and height of a picture that is ``side`` px wide, unless that is too tall."""
    tall, wide = thumb.pixels.shape[:2]
    share = min(side / wide, _TALLEST / tall)
    return max(1, round(wide * share)), max(1, round(tall * share))


def _row_height(thumbs: Sequence[Thumb]) -> int:
    """The height at which all pictures stand side by side, within 112..176 px."""
    aspects = sum(thumb.pixels.shape[1] / thumb.pixels.shape[0] for thumb in thumbs)
    room = _ACROSS - _GAP * (len(thumbs) - 1)
    return int(min(_TALLEST, max(112, room / aspects))) if thumbs else 0


def _below(thumb: Thumb) -> str:
    left_out = f"left out: {thumb.left_out}" if thumb.left_out else ""
    return left_out or " ".join(part for part in (thumb.title, thumb.caption) if part)


def _height_of(row: SheetRow, placed: Sequence[_Placed]) -> int:
    below = max((one.bottom for one in placed), default=0)
    written = _height_of_lines(row)
    return written + below + 2 * _GAP + 8 if placed or written else 0


def _height_of_lines(row: SheetRow) -> int:
    lines = len(_words_of(row))
    return _LINE * lines + 6 if lines else 0


def _height_of_words(row: SheetRow) -> int:
    return 14 + 26 + _LINE * (len(_wrap(row.explanation, _font(13), _WORDS - 28)) + 1) + 16


def _write_stage(draw: ImageDraw.ImageDraw, row: SheetRow, top: int) -> None:
    draw.text((_MARGIN, top + 14), row.stage, _INK, _font(16, "-Bold"))
    shown = len(row.shown)
    lines = _wrap(row.explanation, _font(13), _WORDS - 28)
    if row.total > shown:
        lines = [*lines, f"{shown} of {row.total:,} shown"]
    for place, line in enumerate(lines):
        draw.text((_MARGIN, top + 42 + _LINE * place), line, _MUTED, _font(13))


def _words_of(row: SheetRow) -> list[tuple[str, str]]:
    """The row's words, line by line; what they are stands on the first line of each."""
    lines = []
    for what, said in row.words:
        wrapped = _wrap(said, _font(13), _ACROSS - _WHAT) or [""]
        lines += [(what if at == 0 else "", line) for at, line in enumerate(wrapped)]
    return lines


def _write_words(draw: ImageDraw.ImageDraw, row: SheetRow, top: int) -> None:
    left = _MARGIN + _WORDS
    for place, (what, said) in enumerate(_words_of(row)):
        line = top + 14 + _LINE * place
        draw.text((left, line), _shorten(what, _WHAT - 8, _font(13)), _MUTED, _font(13))
        draw.text((left + _WHAT, line), said, _INK, _font(13))


def _paste(canvas: Image.Image, draw: ImageDraw.ImageDraw, one: _Placed, top: int) -> None:
    left, upper = _MARGIN + _WORDS + one.left, top + one.top
    frame = (left, upper, left + one.width - 1, upper + one.height - 1)
    if isinstance(one.cell, Gap):
        draw.rectangle(frame, outline=_BAD if one.cell.reason else _RULE)
        reason = f"left out: {one.cell.reason}" if one.cell.reason else ""
        for place, line in enumerate(_wrap(reason, _font(11), one.width - 12)):
            if 6 + 15 * (place + 1) <= one.height:
                draw.text((left + 6, upper + 6 + 15 * place), line, _BAD, _font(11))
        return
    drawn = Image.fromarray(draw_thumb(one.cell, 2 * max(one.height, one.width)))
    canvas.paste(drawn.resize((one.width, one.height), Image.Resampling.LANCZOS), (left, upper))
    if one.cell.left_out:
        draw.rectangle(frame, outline=_BAD, width=2)
    words = _shorten(one.words, one.width, _font(11))
    draw.text(
        (left, upper + one.height + 4), words, _BAD if one.cell.left_out else _MUTED, _font(11)
    )


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
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
