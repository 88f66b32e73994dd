"""Paint new objects into scenes after a prompt: several scenes at a time, in squares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import encode_part
from models.data.pixels import Bools, Pixels
from models.data.records import Box
from models.diffusion.ddpm.repaint.crop import Crop, cut, cut_mask, paste
from models.diffusion.ddpm.repaint.part import Part, find_part, paint_order
from models.diffusion.ddpm.repaint.scenes import PaintedObject, PaintedScene
from models.diffusion.inpaint.request import InpaintRequest
from models.diffusion.inpaint.settings import InpaintSettings
from models.diffusion.safety import SafeImage, UnsafeImage
from models.diffusion.schedulers import Sampler

Fill = Callable[[Sequence[InpaintRequest]], Sequence[SafeImage | UnsafeImage]]
# From a square before and after, where it was painted and the object's box: the object's mask.
FindMask = Callable[[Pixels, Pixels, Bools, Box], Bools | None]


@dataclass(eq=False, kw_only=True)
class PromptedScene(PaintedScene):
    """A scene, and what its new objects are; see `PaintedScene` for the other fields.

    Args:
        prompt, negative: as the network reads them.
        scheduler: sampler.
        nsfw_retries: how often a flagged square is painted again.
    """

    prompt: str
    negative: str
    scheduler: Sampler
    nsfw_retries: int = 3


def fill_scenes(
    scenes: Sequence[PromptedScene],
    fill: Fill,
    find_mask: FindMask | None,
    settings: InpaintSettings,
    before_round: Callable[[], None] = lambda: None,
) -> None:
    """Paint the objects of all scenes; squares of a scene that overlap, one after another.

    Px outside of the painted parts keep their values to the bit.

    Args:
        scenes: they are changed.
        fill: computes requests, in order; such as `Sd15Inpaint.compute`.
        find_mask: None: masks are not searched.
        settings: see `InpaintSettings`.
        before_round: called before each round; an exception stops the painting.

    Raises:
        ValueError: a box is longer than the shorter side of its scene.
    """
    parts = [_parts(scene, settings) for scene in scenes]
    orders = [paint_order([part.crop for part in found]) for found in parts]
    for number in range(max(map(len, orders), default=0)):
        before_round()
        work = [
            (scene, index, parts[at][index])
            for at, scene in enumerate(scenes)
            for index in (orders[at][number] if number < len(orders[at]) else ())
        ]
        results = fill([_request(scene, index, part, settings) for scene, index, part in work])
        for (scene, index, part), result in zip(work, results, strict=True):
            if isinstance(result, UnsafeImage):
                scene.left_out[index] = result.reason
            else:
                scene.objects[index] = _put(scene, index, part, result.image, find_mask)


def _parts(scene: PaintedScene, settings: InpaintSettings) -> list[Part]:
    height, width = scene.pixels.shape[:2]
    return [
        find_part(
            box,
            (width, height),
            [*scene.occupied, *(other for other in scene.boxes if other != box)],
            None,
            size=settings.size,
            context=settings.context,
            kind="square",
            margin=settings.margin,
        )
        for box in scene.boxes
    ]


def _request(
    scene: PromptedScene, index: int, part: Part, settings: InpaintSettings
) -> InpaintRequest:
    whole = Crop(0, 0, part.crop.side)
    return InpaintRequest(
        prompt=scene.prompt,
        negative=scene.negative,
        seed=int(np.random.default_rng((scene.seed, index)).integers(2**62)),
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        scheduler=scene.scheduler,
        nsfw_retries=scene.nsfw_retries,
        image=cut(scene.pixels, part.crop, settings.size),
        mask=cut_mask(part.paint, whole, settings.size),
        strength=settings.strength,
    )


def _put(
    scene: PaintedScene, index: int, part: Part, painted: Pixels, find_mask: FindMask | None
) -> PaintedObject:
    """Put a painted square into its scene; the new object, with its box and mask."""
    crop, before = part.crop, scene.pixels[part.crop.slices].copy()
    after = paste(before, painted, part.paint, Crop(0, 0, crop.side))
    scene.pixels[crop.slices] = after
    mask = None if find_mask is None else find_mask(before, after, part.paint, part.box)
    found = None if mask is None else box_of_mask(mask)
    if mask is None or found is None:
        return PaintedObject(scene.boxes[index], None, (), 0, "")
    x, y, width, height = found
    frame = (scene.pixels.shape[1], scene.pixels.shape[0])
    runs = encode_part(mask, (crop.left, crop.top), frame)
    return PaintedObject((x + crop.left, y + crop.top, width, height), runs, (), 0, "")
