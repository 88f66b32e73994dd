"""The contact sheet of one reference photo as a single picture: a row per stage."""

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

# Sizes in px, for a sheet that is shown at full size on a page about 1,400 px wide.
_MARGIN, _GAP, _LEFT, _ACROSS = 36, 10, 250, 1080
_HEAD, _TALLEST, _LINE, _CAPTION, _NAME = 78, 176, 19, 22, 110
_PAPER, _INK, _MUTED, _RULE = (255, 255, 255), (20, 24, 31), (91, 100, 114), (223, 227, 232)
_RED = (168, 38, 28)


@dataclass(frozen=True)
class _Box:
    """Where a cell is drawn within its row, in px, and the caption below it."""

    cell: Thumb | Gap
    caption: str
    left: int
    top: int
    width: int
    height: int

    @property
    def bottom(self) -> int:
        return self.top + self.height + _CAPTION


def contact_sheet(sheet: Sheet) -> Pixels:
    """The sheet as HxWx3 RGB, 1,402 px wide and as tall as its rows need.

    Raises:
        ValueError: a thumbnail has a shape or type that can't be drawn.
    """
    boxes_of = [_lay_out(row) for row in sheet.rows]
    heights = [
        max(_height_of_cells(row, boxes), _height_of_name(row))
        for row, boxes in zip(sheet.rows, boxes_of, strict=True)
    ]
    size = (2 * _MARGIN + _LEFT + _ACROSS, _HEAD + sum(heights) + _MARGIN)
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    right = canvas.width - _MARGIN
    draw.text((_MARGIN, 24), sheet.reference, _INK, _font(24, "-Bold"))
    draw.text((right, 32), f"class {sheet.label}", _MUTED, _font(15), anchor="ra")
    top = _HEAD
    for row, boxes, height in zip(sheet.rows, boxes_of, heights, strict=True):
        draw.line((_MARGIN, top, right, top), _RULE, 1)
        _write_name(draw, row, top)
        _write_words(draw, row, top)
        for box in boxes:
            _draw_box(canvas, draw, box, top + 14 + _height_of_words(row))
        top += height
    return np.asarray(canvas, np.uint8)


def _lay_out(row: SheetRow) -> list[_Box]:
    return _in_columns(row.cells, row.columns) if row.columns else _side_by_side(row.thumbs)


def _side_by_side(thumbs: Sequence[Thumb]) -> list[_Box]:
    """Pictures of equal height from left to right, wrapped at the right edge of the sheet."""
    boxes: list[_Box] = []
    row_height = _common_height(thumbs)
    left = top = 0
    for thumb in thumbs:
        height, width = thumb.pixels.shape[:2]
        width = max(1, min(_ACROSS, round(width * row_height / height)))
        if left and left + width > _ACROSS:
            left, top = 0, top + row_height + _CAPTION + _GAP
        boxes.append(_Box(thumb, _caption_of(thumb), left, top, width, row_height))
        left += width + _GAP
    return boxes


def _in_columns(cells: Sequence[Thumb | Gap], columns: Sequence[str]) -> list[_Box]:
    """Lines of one cell per column. A picture fits its column; a gap is as large as the others."""
    count = len(columns)
    column_width = min(_TALLEST, (_ACROSS + _GAP) // count - _GAP)
    boxes: list[_Box] = []
    top = 0
    for first in range(0, len(cells), count):
        line = cells[first : first + count]
        sizes = [_fit(cell, column_width) if isinstance(cell, Thumb) else None for cell in line]
        line_height = max((size[1] for size in sizes if size), default=_TALLEST // 3)
        for index, (cell, size) in enumerate(zip(line, sizes, strict=True)):
            caption = (_caption_of(cell) or columns[index]) if isinstance(cell, Thumb) else ""
            width, height = size or (column_width, line_height)
            boxes.append(_Box(cell, caption, index * (column_width + _GAP), top, width, height))
        top += line_height + _CAPTION + _GAP
    return boxes


def _fit(thumb: Thumb, column_width: int) -> tuple[int, int]:
    """Width and height of a picture as wide as its column, unless it is too tall for that."""
    height, width = thumb.pixels.shape[:2]
    scale = min(column_width / width, _TALLEST / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _common_height(thumbs: Sequence[Thumb]) -> int:
    """The height at which all pictures fit side by side, within 112..176 px."""
    aspects = sum(thumb.pixels.shape[1] / thumb.pixels.shape[0] for thumb in thumbs)
    room = _ACROSS - _GAP * (len(thumbs) - 1)
    return int(min(_TALLEST, max(112, room / aspects))) if thumbs else 0


def _caption_of(thumb: Thumb) -> str:
    if thumb.reject_reason:
        return f"rejected: {thumb.reject_reason}"
    return " ".join(part for part in (thumb.title, thumb.caption) if part)


def _height_of_cells(row: SheetRow, boxes: Sequence[_Box]) -> int:
    bottom = max((box.bottom for box in boxes), default=0)
    words = _height_of_words(row)
    return words + bottom + 2 * _GAP + 8 if boxes or words else 0


def _height_of_words(row: SheetRow) -> int:
    lines = len(_lines_of(row))
    return _LINE * lines + 6 if lines else 0


def _height_of_name(row: SheetRow) -> int:
    return 14 + 26 + _LINE * (len(_wrap(row.explanation, _font(13), _LEFT - 28)) + 1) + 16


def _write_name(draw: ImageDraw.ImageDraw, row: SheetRow, top: int) -> None:
    """The stage's name, its explanation and how many pictures are shown, at the left."""
    draw.text((_MARGIN, top + 14), row.stage, _INK, _font(16, "-Bold"))
    shown = len(row.thumbs)
    lines = _wrap(row.explanation, _font(13), _LEFT - 28)
    if row.total > shown:
        lines = [*lines, f"{shown} of {row.total:,} shown"]
    for index, line in enumerate(lines):
        draw.text((_MARGIN, top + 42 + _LINE * index), line, _MUTED, _font(13))


def _lines_of(row: SheetRow) -> list[tuple[str, str]]:
    """The words of the row, line by line; the name is on the first line of each."""
    lines = []
    for name, text in row.words:
        wrapped = _wrap(text, _font(13), _ACROSS - _NAME) or [""]
        lines += [(name if index == 0 else "", line) for index, line in enumerate(wrapped)]
    return lines


def _write_words(draw: ImageDraw.ImageDraw, row: SheetRow, top: int) -> None:
    left = _MARGIN + _LEFT
    for index, (name, text) in enumerate(_lines_of(row)):
        line = top + 14 + _LINE * index
        draw.text((left, line), _shorten(name, _NAME - 8, _font(13)), _MUTED, _font(13))
        draw.text((left + _NAME, line), text, _INK, _font(13))


def _draw_box(canvas: Image.Image, draw: ImageDraw.ImageDraw, box: _Box, top: int) -> None:
    left, upper = _MARGIN + _LEFT + box.left, top + box.top
    frame = (left, upper, left + box.width - 1, upper + box.height - 1)
    if isinstance(box.cell, Gap):
        draw.rectangle(frame, outline=_RED if box.cell.reason else _RULE)
        reason = f"rejected: {box.cell.reason}" if box.cell.reason else ""
        for index, line in enumerate(_wrap(reason, _font(11), box.width - 12)):
            if 6 + 15 * (index + 1) <= box.height:
                draw.text((left + 6, upper + 6 + 15 * index), line, _RED, _font(11))
        return
    picture = Image.fromarray(draw_thumb(box.cell, 2 * max(box.height, box.width)))
    size = (box.width, box.height)
    canvas.paste(picture.resize(size, Image.Resampling.LANCZOS), (left, upper))
    if box.cell.reject_reason:
        draw.rectangle(frame, outline=_RED, width=2)
    caption = _shorten(box.caption, box.width, _font(11))
    colour = _RED if box.cell.reject_reason else _MUTED
    draw.text((left, upper + box.height + 4), caption, colour, _font(11))


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
    # The fonts that matplotlib brings, so that every machine draws the same sheet.
    fonts = Path(get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(fonts / f"DejaVuSans{weight}.ttf", size)
