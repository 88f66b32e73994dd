"""Paint new objects into scenes: several scenes at a time, and the best of several paintings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import encode_part
from models.data.objects import PixelBox
from models.data.pixels import Bools, Matrix, Pixels
from models.data.records import Box
from models.diffusion.ddpm.control.bank import Shape, draw_shape
from models.diffusion.ddpm.control.sizes import size_class
from models.diffusion.ddpm.generator import RepaintRequest
from models.diffusion.ddpm.repaint.crop import Crop, cut
from models.diffusion.ddpm.repaint.part import Part, find_part, paint_order
from models.diffusion.ddpm.repaint.settings import Condition, PaintingSettings
from models.runtime.batching import InvalidOutput

Painted = Pixels | InvalidOutput


@dataclass(frozen=True, eq=False, kw_only=True)
class Painter:
    """A network that paints, and what belongs to it.

    Args:
        paint: computes requests, in order; such as `Ddpm.compute`.
        size: side of the network's images, px.
        context: side of a square, times the longer side of the object's box, as in the training.
        condition: what the network was fitted with.
        guided: whether there is a size classifier.
        score: how good squares of the network's size are, higher is better; None: the first
            candidate is taken.
        least_score: objects whose best candidate scores less are not painted.
        find_mask: from a square before and after, where it was painted and the object's box, the
            object's mask, or None if it is not known; empty: nothing is there. Without this
            function masks are not searched.
    """

    paint: Callable[[Sequence[RepaintRequest]], Sequence[Painted]]
    size: int
    context: float
    condition: Condition = "none"
    guided: bool = False
    score: Callable[[Sequence[Pixels]], Matrix] | None = None
    least_score: float = 0.0
    find_mask: Callable[[Pixels, Pixels, Bools, Box], Bools | None] | None = None


@dataclass(frozen=True, eq=False)
class PaintedObject:
    """A new object: its box in px of the scene, its mask as run lengths if it is known.

    ``scores`` are those of its candidates, ``chosen`` the index of the one that was taken,
    ``follows`` the photo whose object it follows, empty if it follows nothing.
    """

    box: PixelBox
    mask: str | None
    scores: tuple[float, ...]
    chosen: int
    follows: str


@dataclass(eq=False)
class PaintedScene:
    """A scene, and the objects that were painted into it so far.

    Args:
        pixels: uint8 HxWx3; painting changes this array.
        boxes: where new objects are placed.
        occupied: boxes of the objects that stay.
        seed: decides all draws.
        shapes: that new objects follow, if the network was fitted with a condition.
        objects: by the index of their boxes.
        left_out: why other boxes got no object, by their index.
    """

    pixels: Pixels
    boxes: Sequence[PixelBox]
    occupied: Sequence[Box]
    seed: int
    shapes: Sequence[Shape] = ()
    objects: dict[int, PaintedObject] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Work:
    """An object to paint, and its requests, one per candidate."""

    scene: PaintedScene
    index: int
    part: Part
    requests: list[RepaintRequest]


def paint_scenes(
    scenes: Sequence[PaintedScene],
    painter: Painter,
    settings: PaintingSettings,
    before_round: Callable[[], None] = lambda: None,
) -> None:
    """Paint the objects of all scenes; squares of a scene that overlap, one after another.

    Args:
        scenes: they are changed.
        painter: see `Painter`.
        settings: see `PaintingSettings`.
        before_round: called before each round; an exception stops the painting.

    Raises:
        ValueError: a box doesn't fit, or the settings need masks that the shapes lack.
    """
    parts = [_parts(scene, painter, settings) for scene in scenes]
    orders = [paint_order([part.crop for part in found]) for found in parts]
    for number in range(max(map(len, orders), default=0)):
        before_round()
        work = [
            _work(scene, index, parts[at][index], painter, settings)
            for at, scene in enumerate(scenes)
            for index in (orders[at][number] if number < len(orders[at]) else ())
        ]
        results = painter.paint([request for one in work for request in one.requests])
        for place, one in enumerate(work):
            first = place * settings.candidates
            _finish(one, results[first : first + settings.candidates], painter, settings)


def _parts(scene: PaintedScene, painter: Painter, settings: PaintingSettings) -> list[Part]:
    shapes, parts = _usable(scene.shapes, painter.condition, settings), []
    for index, box in enumerate(scene.boxes):
        shape = None
        if painter.condition != "none":
            rng = np.random.default_rng((scene.seed, index))
            shape = draw_shape(shapes, box[2:], settings.flips, rng)
        height, width = scene.pixels.shape[:2]
        others = [*scene.occupied, *(other for other in scene.boxes if other != box)]
        part = find_part(
            box,
            (width, height),
            others,
            shape,
            size=painter.size,
            context=painter.context,
            kind=settings.mask,
            margin=settings.margin,
        )
        parts.append(part)
    return parts


def _usable(
    shapes: Sequence[Shape], condition: Condition, settings: PaintingSettings
) -> list[Shape]:
    """The shapes that have what an object follows."""
    if condition == "none":
        return []
    needs_mask = condition == "masks" or settings.mask == "tight"
    usable = [shape for shape in shapes if shape.mask is not None or not needs_mask]
    if not usable:
        raise ValueError(
            "repaint: no square of the class has a mask that objects can follow; give masks, set "
            "segment, or set fit.condition: none"
        )
    return usable


def _work(
    scene: PaintedScene, index: int, part: Part, painter: Painter, settings: PaintingSettings
) -> _Work:
    rng = np.random.default_rng((scene.seed, index, 1))
    square = scene.pixels[part.crop.slices].copy()
    guide = None
    if painter.guided and settings.size_guidance > 0:
        guide = size_class(part.box[3], part.box[2], part.crop.side)
    requests = [
        RepaintRequest(
            seed=int(rng.integers(2**62)),
            spacing=str(settings.steps),
            picture=part.picture(scene.pixels, painter.size, painter.condition, rng),
            size_class=guide,
            guidance_scale=settings.size_guidance,
            scene=square,
            mask=part.paint,
            # The scene is the square itself.
            context=float(part.crop.side),
            jump=settings.jump,
            rounds=settings.rounds,
        )
        for _ in range(settings.candidates)
    ]
    return _Work(scene, index, part, requests)


def _finish(
    work: _Work, results: Sequence[Painted], painter: Painter, settings: PaintingSettings
) -> None:
    """Put the best candidate into its scene, if it is good enough."""
    valid = {at: found for at, found in enumerate(results) if not isinstance(found, InvalidOutput)}
    if not valid:
        work.scene.left_out[work.index] = "the network gave no finite numbers"
        return
    scores, chosen = _choose(valid, work.part.crop, painter)
    if scores and max(scores) < painter.least_score:
        work.scene.left_out[work.index] = f"no object: its best score is {max(scores):.2f}"
        return
    before, after = work.requests[0].scene, valid[chosen]
    mask = work.part.mask
    if mask is None and painter.find_mask is not None and settings.find_mask:
        mask = painter.find_mask(before, after, work.part.paint, work.part.box)
    if mask is not None and not mask.any():
        work.scene.left_out[work.index] = "no object: nothing differs from its surroundings"
        return
    work.scene.pixels[work.part.crop.slices] = after
    work.scene.objects[work.index] = _describe(work, mask, scores, chosen)


def _choose(
    valid: dict[int, Pixels], crop: Crop, painter: Painter
) -> tuple[tuple[float, ...], int]:
    """The scores of the candidates, and the index of the best one; the first without scores."""
    if painter.score is None:
        return (), min(valid)
    whole = Crop(0, 0, crop.side)
    scores = painter.score([cut(square, whole, painter.size) for square in valid.values()])
    return tuple(round(float(score), 5) for score in scores), list(valid)[int(np.argmax(scores))]


def _describe(
    work: _Work, mask: Bools | None, scores: tuple[float, ...], chosen: int
) -> PaintedObject:
    crop, pixels = work.part.crop, work.scene.pixels
    box, runs = work.scene.boxes[work.index], None
    found = None if mask is None else box_of_mask(mask)
    if mask is not None and found is not None:
        x, y, width, height = found
        box = (x + crop.left, y + crop.top, width, height)
        frame = (pixels.shape[1], pixels.shape[0])
        runs = encode_part(mask, (crop.left, crop.top), frame)
    shape = work.part.shape
    return PaintedObject(box, runs, scores, chosen, "" if shape is None else shape.name)
