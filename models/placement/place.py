"""New objects of a scene: their boxes, in random or in relevant context."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.data.objects import PixelBox
from models.data.pixels import Floats
from models.placement.free_places import Scene, draw_corner
from models.placement.real_sizes import draw_size
from models.placement.settings import PlacementSettings

# A new object is at most so much higher or lower than the real one that gave its size.
_HEIGHT_RANGE = 0.1


@dataclass(frozen=True)
class PlacedBox:
    """A new object: x, y, width, height in px, and how relevant its surroundings are, 0..1."""

    box: PixelBox
    score: float | None = None


def place_at_random(
    scene: Scene, sizes: Floats, settings: PlacementSettings, rng: np.random.Generator
) -> list[PlacedBox]:
    """New objects in random context; fewer than `per_scene` where no place is free.

    Args:
        scene: where they may be.
        sizes: of real objects, from `measure_boxes`; one or more.
        settings: the limits.
        rng: draws sizes and places.
    """
    placed: list[PixelBox] = []
    for _ in range(settings.per_scene):
        box = draw_free_box(scene, sizes, settings, rng, placed)
        if box is not None:
            placed.append(box)
    return [PlacedBox(box) for box in placed]


def draw_free_box(
    scene: Scene,
    sizes: Floats,
    settings: PlacementSettings,
    rng: np.random.Generator,
    placed: Sequence[PixelBox] = (),
) -> PixelBox | None:
    """A free place for an object of a real size; None if none of `max_tries` sizes fits."""
    for _ in range(settings.max_tries):
        frame = (scene.width, scene.height)
        size, middle = draw_size(sizes, frame, settings.size_jitter, settings.square, rng)
        margin = _margin_of(size, settings)
        # An earlier box may need more space than this one.
        kept_free = [_grow(box, _margin_of(box[2:], settings) - margin) for box in placed]
        free, step = scene.free_corners(size, margin, kept_free)
        rows = None
        if settings.vertical == "as_real":
            rows = (
                (middle - _HEIGHT_RANGE) * scene.height - size[1] / 2,
                (middle + _HEIGHT_RANGE) * scene.height - size[1] / 2,
            )
        corner = draw_corner(free, step, rng, rows)
        if corner is not None:
            return (*corner, *size)
    return None


@dataclass(frozen=True, eq=False)
class Candidates:
    """Free places of a scene, and how relevant the surroundings of each are, 0..1."""

    boxes: tuple[PixelBox, ...]
    scores: Floats


def find_candidates(
    scene: Scene,
    sizes: Floats,
    settings: PlacementSettings,
    rng: np.random.Generator,
    score: Callable[[Sequence[PixelBox]], Floats],
) -> Candidates:
    """Free places, each drawn without regard to the others, with their scores.

    Args:
        score: a number per box; the more relevant its surroundings, the higher.
    """
    drawn = (draw_free_box(scene, sizes, settings, rng) for _ in range(settings.candidates))
    boxes = tuple(dict.fromkeys(box for box in drawn if box is not None))
    return Candidates(boxes, score(boxes) if boxes else np.empty(0, np.float32))


def place_by_relevance(
    candidates: Candidates, settings: PlacementSettings, rng: np.random.Generator
) -> list[PlacedBox]:
    """New objects in relevant context: candidates that don't overlap.

    The best share of the candidates comes in random order, so that placements differ. Where they
    leave no place, the others follow, the best first.
    """
    ranked = np.argsort(-candidates.scores, kind="stable").tolist()
    best = max(settings.per_scene, round(settings.top_share * len(ranked)))
    order = [*rng.permutation(ranked[:best]).tolist(), *ranked[best:]]
    placed: list[PlacedBox] = []
    for number in order:
        box = candidates.boxes[number]
        if len(placed) == settings.per_scene:
            break
        if all(_is_apart(box, other.box, settings) for other in placed):
            placed.append(PlacedBox(box, round(float(candidates.scores[number]), 4)))
    return placed


def _margin_of(size: tuple[int, int], settings: PlacementSettings) -> int:
    return round(settings.margin * max(size))


def _grow(box: PixelBox, by: int) -> PixelBox:
    x, y, width, height = box
    by = max(by, 0)
    return x - by, y - by, width + 2 * by, height + 2 * by


def _is_apart(box: PixelBox, other: PixelBox, settings: PlacementSettings) -> bool:
    x, y, width, height = box
    left, top, w, h = other
    gap = max(left - x - width, x - left - w, top - y - height, y - top - h)
    return gap >= max(_margin_of(box[2:], settings), _margin_of(other[2:], settings))
