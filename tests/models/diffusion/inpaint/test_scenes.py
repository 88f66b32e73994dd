"""Objects are painted in rounds; px outside of their parts keep their values to the bit."""

from collections.abc import Sequence

import numpy as np
import pytest

from models.data.formats.polygons import decode_runs
from models.data.objects import PixelBox
from models.data.pixels import Pixels
from models.data.records import Box
from models.diffusion.inpaint.request import InpaintRequest
from models.diffusion.inpaint.scenes import FindMask, PromptedScene, fill_scenes
from models.diffusion.inpaint.settings import InpaintSettings
from models.diffusion.safety import SafeImage, UnsafeImage
from models.segmentation.painted_object import find_painted_object

PHOTO = np.random.default_rng(0).integers(0, 40, (120, 160, 3), np.uint8)
FAR: tuple[PixelBox, ...] = ((12, 12, 20, 16), (110, 80, 20, 24))
NEAR: tuple[PixelBox, ...] = ((12, 12, 20, 16), (40, 14, 16, 16))
REAL: Box = (60.0, 60.0, 20.0, 20.0)


class Recorder:
    """Fills each mask with a bright ellipse on the old ground, and keeps the rounds."""

    def __init__(self) -> None:
        self.rounds: list[list[InpaintRequest]] = []

    def __call__(self, requests: Sequence[InpaintRequest]) -> list[SafeImage | UnsafeImage]:
        self.rounds.append(list(requests))
        return [self._fill(request) for request in requests]

    def _fill(self, request: InpaintRequest) -> SafeImage | UnsafeImage:
        if request.prompt == "flagged":
            return UnsafeImage("flagged as not safe for work once")
        rows, columns = np.nonzero(request.mask)
        middle = np.array([(rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2])
        half = np.array([np.ptp(rows) + 1, np.ptp(columns) + 1]) / 2
        away = (np.indices(request.mask.shape).transpose(1, 2, 0) - middle) / half
        image: Pixels = (255 - request.image) if request.strength < 1 else request.image.copy()
        image[(away**2).sum(axis=2) < 0.8] = 230
        return SafeImage(image)


def scene_of(boxes: Sequence[PixelBox], prompt: str = "a disc", seed: int = 1) -> PromptedScene:
    return PromptedScene(
        pixels=PHOTO.copy(),
        boxes=boxes,
        occupied=[REAL],
        seed=seed,
        prompt=prompt,
        negative="",
        scheduler="ddim",
    )


def fill(
    *scenes: PromptedScene, find_mask: FindMask | None = None, strength: float = 1.0
) -> Recorder:
    recorder = Recorder()
    settings = InpaintSettings(size=64, margin=0.1, strength=strength)
    fill_scenes(scenes, recorder, find_mask, settings)
    return recorder


def test_only_the_boxes_and_their_margin_change() -> None:
    scene = scene_of(FAR)
    recorder = fill(scene, strength=0.5)
    assert [len(round_) for round_ in recorder.rounds] == [2]
    for request in recorder.rounds[0]:
        assert request.image.shape == (64, 64, 3)
        assert request.mask.shape == (64, 64)
    where = np.zeros(PHOTO.shape[:2], bool)
    for x, y, width, height in FAR:
        reach = int(np.ceil(0.1 * max(width, height)))
        where[y - reach : y + height + reach, x - reach : x + width + reach] = True
    np.testing.assert_array_equal(scene.pixels[~where], PHOTO[~where])
    assert (scene.pixels[where] != PHOTO[where]).any(axis=-1).mean() > 0.9
    assert [scene.objects[index].box for index in (0, 1)] == list(FAR)
    assert not any(made.mask for made in scene.objects.values())


def test_the_box_of_an_object_is_that_of_its_mask() -> None:
    scene = scene_of(FAR)
    fill(scene, find_mask=find_painted_object)
    for index, placed in enumerate(FAR):
        made = scene.objects[index]
        assert made.mask is not None
        mask = decode_runs(made.mask, *PHOTO.shape[:2])
        rows, columns = np.nonzero(mask)
        x, y, width, height = made.box
        assert (columns.min(), rows.min()) == (x, y)
        assert (columns.max() + 1, rows.max() + 1) == (x + width, y + height)
        # The margin of 3 px is painted too.
        np.testing.assert_allclose(made.box, placed, atol=6)
        assert (scene.pixels[mask] == 230).mean() > 0.9


def test_squares_that_overlap_are_painted_one_after_another() -> None:
    scene = scene_of(NEAR)
    recorder = fill(scene)
    assert [len(round_) for round_ in recorder.rounds] == [1, 1]
    # The second square shows what was painted in the first.
    assert (recorder.rounds[1][0].image == 230).any()
    assert set(scene.objects) == {0, 1}


def test_a_scene_does_not_depend_on_others_and_flagged_objects_are_left_out() -> None:
    alone, first, flagged = scene_of(FAR), scene_of(FAR), scene_of(FAR, "flagged", seed=2)
    fill(alone)
    recorder = fill(first, flagged)
    np.testing.assert_array_equal(first.pixels, alone.pixels)
    assert len({request.seed for request in recorder.rounds[0]}) == 4
    assert not flagged.objects
    assert flagged.left_out == dict.fromkeys((0, 1), "flagged as not safe for work once")
    np.testing.assert_array_equal(flagged.pixels, PHOTO)


def test_a_box_that_no_square_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="its box is 130 px long"):
        fill(scene_of([(0, 0, 130, 10)]))
