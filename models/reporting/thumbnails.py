"""Pictures for the report: the output of any stage as a small RGB picture and a ``data:`` URL."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from models.data.pixels import Pixels, encode_jpeg, fit_within, matte, rgb
from models.reporting.input import Picture, Thumb

# Longest side of a thumbnail, px, where all pictures fit the budget.
NORMAL_SIDE = 240
# (longest side in px, JPEG quality), tried in this order until all pictures fit the budget.
_SIZES = ((NORMAL_SIDE, 82), (208, 80), (176, 76), (144, 72), (112, 66))
# Base64 adds a third: 4.5 MB of JPEG become 6 MB of HTML, which leaves room below 8 MB.
PICTURE_BUDGET_BYTES = 4_500_000
_CHECKER = (np.array((238, 240, 243), np.uint8), np.array((205, 210, 217), np.uint8))
_OUTLINE = np.array((255, 64, 129), np.uint8)


@dataclass(frozen=True)
class Shown:
    """A thumbnail as the page needs it: its URL, its size in px, and its words."""

    source: str
    width: int
    height: int
    title: str
    caption: str
    reject_reason: str = ""

    @property
    def aspect(self) -> float:
        """Width over height, limited to 0.4..2.5 so that no picture becomes too narrow to see."""
        return round(min(2.5, max(0.4, self.width / self.height)), 3)

    @property
    def alternative(self) -> str:
        """The text that a screen reader says instead of the picture."""
        return ": ".join(part for part in (self.title, self.caption) if part) or "picture"


def draw_thumb(thumb: Thumb, longest_side: int) -> Pixels:
    """The thumbnail as HxWx3 RGB, its longer side at most ``longest_side`` px.

    Raises:
        ValueError: the picture is no RGB, RGBA, mask or depth array.
    """
    picture = thumb.pixels
    _check(picture, thumb)
    if picture.ndim == 2:
        return _draw_plane(picture, longest_side)
    small = fit_within(np.asarray(picture, np.uint8), longest_side)
    if small.shape[2] == 3 or thumb.alpha_style == "hidden":
        return np.ascontiguousarray(rgb(small))
    return _on_checker(small) if thumb.alpha_style == "checker" else _outlined(small)


def show_thumbs(thumbs: Iterable[Thumb], budget_bytes: int = PICTURE_BUDGET_BYTES) -> list[Shown]:
    """Every thumbnail as a JPEG ``data:`` URL.

    All take the largest size at which they fit ``budget_bytes`` together, or the smallest size.
    """
    thumbs = list(thumbs)
    pictures = [draw_thumb(thumb, round(NORMAL_SIDE * thumb.scale)) for thumb in thumbs]
    blobs: list[bytes] = []
    for side, quality in _SIZES:
        pictures = [
            fit_within(picture, round(side * thumb.scale))
            for picture, thumb in zip(pictures, thumbs, strict=True)
        ]
        blobs = [encode_jpeg(picture, quality) for picture in pictures]
        if sum(map(len, blobs)) <= budget_bytes:
            break
    return [
        Shown(
            source="data:image/jpeg;base64," + base64.b64encode(blob).decode("ascii"),
            width=picture.shape[1],
            height=picture.shape[0],
            title=thumb.title,
            caption=thumb.caption,
            reject_reason=thumb.reject_reason,
        )
        for thumb, picture, blob in zip(thumbs, pictures, blobs, strict=True)
    ]


def _check(picture: Picture, thumb: Thumb) -> None:
    is_plane = picture.ndim == 2 and picture.dtype in (np.bool_, np.uint8, np.uint16)
    is_colour = picture.ndim == 3 and picture.shape[2] in (3, 4) and picture.dtype == np.uint8
    if not (is_plane or is_colour) or 0 in picture.shape:
        raise ValueError(
            f"thumbnail {thumb.title or thumb.caption!r}: pixels of shape {picture.shape} and type "
            f"{picture.dtype}; give uint8 HxWx3 or HxWx4, or HxW of bool, uint8 or uint16"
        )


def _draw_plane(plane: Picture, longest_side: int) -> Pixels:
    if plane.dtype == np.bool_:
        grey = fit_within(plane.astype(np.uint8) * np.uint8(255), longest_side)
        return np.repeat(grey[..., None], 3, axis=2)
    if plane.dtype == np.uint16:
        plane = (plane >> 8).astype(np.uint8)
    levels = fit_within(plane.astype(np.uint8), longest_side)
    if np.isin(plane, (0, 255)).all():
        return np.repeat(levels[..., None], 3, axis=2)
    coloured = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB), np.uint8)


def _on_checker(rgba: Pixels) -> Pixels:
    height, width = rgba.shape[:2]
    cell = max(4, max(height, width) // 20)
    is_light = (np.arange(height)[:, None] // cell + np.arange(width)[None] // cell) % 2 == 0
    ground = np.where(is_light[..., None], *_CHECKER).astype(np.float32)
    alpha = matte(rgba)[..., None]
    return np.asarray(np.rint(rgb(rgba) * alpha + ground * (1.0 - alpha)), np.uint8)


def _outlined(rgba: Pixels) -> Pixels:
    # One pixel just outside the object, so that its own edge stays visible.
    inside = (rgba[..., 3] >= 128).astype(np.uint8)
    rim = cv2.dilate(inside, np.ones((3, 3), np.uint8)) > inside
    pixels = rgb(rgba).copy()
    pixels[rim] = _OUTLINE
    return pixels
