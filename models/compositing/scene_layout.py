"""Layouts of scenes: which object is where, how large, how rotated, and what of it is visible.

Dwibedi, Misra and Hebert, "Cut, Paste and Learn" (ICCV 2017), bound overlap and truncation by
boxes. Here px of masks decide, so that every label is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.compositing.cut_out import OBJECT_ALPHA, CutOut
from models.compositing.placement import rotated_size
from models.compositing.scene_settings import SceneSettings
from models.data.pixels import Bools, Pixels

# Most objects and distractors of a scene: px of the owner map are uint8.
MOST = 255


@dataclass(frozen=True, eq=False)
class Placed:
    """An object in a scene.

    Attributes:
        number: its position among the cut-outs; those of distractors follow those of objects.
        is_distractor: whether it has no label.
        patch: uint8 HxWx4 at its final size and rotation; RGB premultiplied by alpha, and alpha.
        left, top: the patch's corner in px of the scene; negative where it is truncated.
        area: px of its mask, also of what is hidden or outside of the frame.
    """

    number: int
    is_distractor: bool
    patch: Pixels
    left: int
    top: int
    area: int


@dataclass(frozen=True, eq=False)
class Layout:
    """Objects in the order in which they are painted.

    ``owner``: uint8 HxW; n where the mask of ``placed[n - 1]`` is on top, 0 for the background.
    """

    placed: tuple[Placed, ...]
    owner: Pixels


def draw_layout(
    cut_outs: Sequence[CutOut],
    distractors: Sequence[CutOut],
    settings: SceneSettings,
    rng: np.random.Generator,
) -> Layout:
    """Draw a layout. The first cut-out always has a place in it; others may find none.

    Args:
        cut_outs: the objects, each used once.
        distractors: what gets no label, each used once.
        settings: the limits.
        rng: draws sizes, rotations, colours, places and the order of painting.

    Raises:
        ValueError: there is no cut-out, or there are more than `MOST` together.
    """
    if not cut_outs or len(cut_outs) + len(distractors) > MOST:
        raise ValueError(
            f"a scene got {len(cut_outs)} objects and {len(distractors)} distractors; give 1 to"
            f" {MOST} in all"
        )
    order = rng.permutation(len(cut_outs) + len(distractors)).tolist()
    layout = _draw_in_order(order, cut_outs, distractors, settings, rng)
    if any(placed.number == 0 for placed in layout.placed):
        return layout
    # Others had taken all the space.
    return _draw_in_order(sorted(order), cut_outs, distractors, settings, rng)


def _draw_in_order(
    order: Sequence[int],
    cut_outs: Sequence[CutOut],
    distractors: Sequence[CutOut],
    settings: SceneSettings,
    rng: np.random.Generator,
) -> Layout:
    every = [*cut_outs, *distractors]
    drawing = _Drawing(settings, rng)
    for number in order:
        drawing.add(number, every[number], is_distractor=number >= len(cut_outs))
    return Layout(tuple(drawing.placed), drawing.owner)


class _Drawing:
    """A layout to which one object after the other is added."""

    def __init__(self, settings: SceneSettings, rng: np.random.Generator) -> None:
        self.settings = settings
        self.rng = rng
        self.owner = np.zeros((settings.height, settings.width), np.uint8)
        self.placed: list[Placed] = []
        # Per placed object: px of its mask in the frame, and those of them that are visible.
        self.inside: list[int] = []
        self.visible: list[int] = []
        self.middle_size = float(rng.uniform(settings.smallest, settings.largest))

    def add(self, number: int, cut_out: CutOut, is_distractor: bool) -> None:
        """Place an object where all limits are kept; leave it out if no try finds such a place."""
        patch = self._draw_patch(cut_out)
        mask = patch[..., 3] >= OBJECT_ALPHA
        area = int(np.count_nonzero(mask))
        height, width = mask.shape
        is_first = not is_distractor and all(other.is_distractor for other in self.placed)
        for attempt in range(self.settings.tries + is_first):
            if attempt == self.settings.tries:
                # In the middle no px is outside, and there is no other object to cover.
                left = (self.settings.width - width) // 2
                top = (self.settings.height - height) // 2
            else:
                left = self._draw_start(self.settings.width, width)
                top = self._draw_start(self.settings.height, height)
            placed = Placed(number, is_distractor, patch, left, top, area)
            if self._try(placed, mask):
                return

    def _draw_patch(self, cut_out: CutOut) -> Pixels:
        limits, rng = self.settings, self.rng
        size = float(rng.uniform(limits.smallest, limits.largest))
        if limits.size_difference is not None:
            size = self.middle_size * (1 + limits.size_difference * float(rng.uniform(-1, 1)))
        degrees = float(rng.uniform(-limits.max_rotation, limits.max_rotation))
        mirrored = rng.random(2) < (limits.flip, limits.upside_down)
        box = rotated_size(cut_out.size, degrees)
        fitting = min((limits.width - 2) / box[0], (limits.height - 2) / box[1])
        scale = min(size * min(limits.width, limits.height) / max(cut_out.size), fitting)
        patch = warp_cut_out(cut_out, scale, degrees, (bool(mirrored[0]), bool(mirrored[1])))
        gain = 1 + limits.brightness * rng.uniform(-1, 1)
        gains = gain * (1 + limits.colour * rng.uniform(-1, 1, 3))
        return np.asarray(cv2.multiply(patch, np.append(gains, 1.0)), np.uint8)

    def _draw_start(self, frame: int, side: int) -> int:
        """The left or upper edge of a patch; it is outside by the allowed share at most."""
        slack = self.settings.truncation * side
        middle = 0.5 * (frame - side)
        reach = max(middle + slack, 0.0) * self.settings.spread
        return round(float(self.rng.uniform(middle - reach, middle + reach)))

    def _try(self, placed: Placed, mask: Bools) -> bool:
        """Whether an object can be there; if so, it is added."""
        limits = self.settings
        scene, patch = visible_part(placed, self.owner)
        part = mask[patch]
        inside = int(np.count_nonzero(part))
        least = max(1 - limits.truncation, limits.min_visibility)
        if inside == 0 or (not placed.is_distractor and inside < least * placed.area):
            return False
        below = self.owner[scene]
        covered: list[tuple[int, int]] = []
        if below.any():
            counts = np.bincount(below[part], minlength=1)
            owners = (np.flatnonzero(counts[1:]) + 1).tolist()
            covered = [(owner - 1, int(counts[owner])) for owner in owners]
        for other, count in covered:
            rest = self.visible[other] - count
            enough = max(
                (1 - limits.max_overlap) * self.inside[other],
                limits.min_visibility * self.placed[other].area,
                1,
            )
            if not self.placed[other].is_distractor and rest < enough:
                return False
        for other, count in covered:
            self.visible[other] -= count
        self.placed.append(placed)
        self.inside.append(inside)
        self.visible.append(inside)
        np.putmask(below, part, len(self.placed))
        return True


def warp_cut_out(
    cut_out: CutOut, scale: float, degrees: float, mirrored: tuple[bool, bool]
) -> Pixels:
    """The cut-out at another size, mirrored (left to right, top to bottom), then rotated.

    Returns:
        uint8 HxWx4 just large enough; RGB premultiplied by alpha, and alpha.
    """
    level = min(int(np.log2(max(1 / scale, 1))), len(cut_out.levels) - 1)
    pixels = cut_out.levels[level]
    height, width = pixels.shape[:2]
    scale_x, scale_y = cut_out.size[0] / width * scale, cut_out.size[1] / height * scale
    box = rotated_size((width * scale_x, height * scale_y), degrees)
    size = (int(np.ceil(box[0])) + 1, int(np.ceil(box[1])) + 1)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    scale_x *= -1 if mirrored[0] else 1
    scale_y *= -1 if mirrored[1] else 1
    linear = np.array([[cos * scale_x, sin * scale_y], [-sin * scale_x, cos * scale_y]])
    middle = np.array([width - 1, height - 1]) / 2
    shift = np.array([size[0] - 1, size[1] - 1]) / 2 - linear @ middle
    return np.asarray(cv2.warpAffine(pixels, np.column_stack([linear, shift]), size), np.uint8)


def visible_part(placed: Placed, scene: Pixels) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of the scene that a patch lies on, and those of the patch in the frame."""
    height, width = placed.patch.shape[:2]
    top, left = max(placed.top, 0), max(placed.left, 0)
    bottom = max(min(placed.top + height, scene.shape[0]), top)
    right = max(min(placed.left + width, scene.shape[1]), left)
    rows, columns = slice(top, bottom), slice(left, right)
    inner = slice(top - placed.top, bottom - placed.top)
    return (rows, columns), (inner, slice(left - placed.left, right - placed.left))
