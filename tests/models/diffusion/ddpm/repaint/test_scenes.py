"""Objects are painted round by round; the best candidate is taken; other px stay to the bit."""

from collections.abc import Sequence

import numpy as np
import pytest

from models.data.formats.polygons import decode_runs
from models.data.objects import PixelBox
from models.data.pixels import Bools, Matrix, Pixels
from models.data.records import Box
from models.diffusion.ddpm.control.bank import Shape
from models.diffusion.ddpm.generator import RepaintRequest
from models.diffusion.ddpm.repaint.scenes import (
    PaintedObject,
    PaintedScene,
    Painter,
    paint_scenes,
)
from models.diffusion.ddpm.repaint.settings import PaintingSettings
from models.runtime.batching import InvalidOutput

SCENE = np.random.default_rng(0).integers(0, 100, (80, 100, 3), np.uint8)
FAR: tuple[PixelBox, ...] = ((10, 10, 8, 6), (70, 50, 8, 8))
NEAR: tuple[PixelBox, ...] = ((10, 10, 8, 6), (20, 12, 8, 8))
DISC = np.hypot(*(np.indices((16, 16)) - 7.5)) < 5
SHAPE = Shape(np.full((16, 16, 3), 9, np.uint8), (3.0, 3.0, 10.0, 10.0), DISC, "disc/1")


class Recorder:
    """Paints a grey that counts up with each request, and keeps the rounds."""

    def __init__(self) -> None:
        self.rounds: list[list[RepaintRequest]] = []

    def __call__(self, requests: Sequence[RepaintRequest]) -> list[Pixels | InvalidOutput]:
        self.rounds.append(list(requests))
        painted: list[Pixels | InvalidOutput] = []
        for request in requests:
            image = request.scene.copy()
            image[request.mask] = 200 + len(painted)
            painted.append(image)
        return painted


def mean_level(squares: Sequence[Pixels]) -> Matrix:
    assert all(square.shape == (16, 16, 3) for square in squares)
    return np.array([-abs(float(square.max()) - 202) for square in squares])


def paint(
    recorder: Recorder, *scenes: PaintedScene, candidates: int = 3, least_score: float = -9.0
) -> None:
    painter = Painter(
        paint=recorder, size=16, context=2.0, score=mean_level, least_score=least_score
    )
    settings = PaintingSettings(candidates=candidates, margin=0.0, steps=20, jump=3, rounds=2)
    paint_scenes(scenes, painter, settings)


def scene(boxes: Sequence[PixelBox], seed: int = 7) -> PaintedScene:
    return PaintedScene(SCENE.copy(), boxes, ((0, 0, 5, 5),), seed)


def inside(boxes: Sequence[PixelBox]) -> Bools:
    where = np.zeros(SCENE.shape[:2], bool)
    for x, y, width, height in boxes:
        where[y : y + height, x : x + width] = True
    return where


def test_the_best_candidate_is_taken_and_all_other_px_stay() -> None:
    recorder, one = Recorder(), scene(FAR)
    paint(recorder, one)
    assert [len(requests) for requests in recorder.rounds] == [6]
    # The third request of the first object, and the first of the second object.
    assert [one.objects[index].chosen for index in (0, 1)] == [2, 0]
    assert one.objects[0].scores == (-2.0, -1.0, -0.0)
    where = inside(FAR)
    np.testing.assert_array_equal(one.pixels[~where], SCENE[~where])
    assert set(np.unique(one.pixels[where])) == {202, 203}
    assert [one.objects[index].box for index in (0, 1)] == list(FAR)
    (request, *_) = recorder.rounds[0]
    assert (request.spacing, request.jump, request.rounds) == ("20", 3, 2)
    assert len({request.seed for request in recorder.rounds[0]}) == 6


def test_near_objects_are_painted_one_after_another_in_batches_of_scenes() -> None:
    recorder, near, far = Recorder(), scene(NEAR), scene(FAR)
    paint(recorder, near, far, candidates=1)
    assert [len(requests) for requests in recorder.rounds] == [3, 1]
    # The second object's square shows the first object.
    assert (recorder.rounds[1][0].scene == 200).any()
    assert near.objects.keys() == far.objects.keys() == {0, 1}


def test_objects_that_are_not_good_enough_leave_the_scene_as_it_was() -> None:
    one = scene(FAR)
    paint(Recorder(), one, least_score=-0.5)
    assert one.objects.keys() == {0}
    assert one.left_out == {1: "no object: its best score is -1.00"}
    where = inside(FAR[:1])
    np.testing.assert_array_equal(one.pixels[~where], SCENE[~where])


def test_a_seed_repeats_and_another_differs() -> None:
    recorder = Recorder()
    for seed in (7, 7, 8):
        paint(recorder, scene(FAR, seed))
    seeds = [[request.seed for request in requests] for requests in recorder.rounds]
    assert seeds[0] == seeds[1] != seeds[2]


def test_invalid_candidates_are_passed_over() -> None:
    def fail(requests: Sequence[RepaintRequest]) -> list[Pixels | InvalidOutput]:
        return [InvalidOutput("not finite"), *Recorder()(requests[1:])]

    settings = PaintingSettings(candidates=2, margin=0.0)
    one, other = scene(FAR[:1]), scene(FAR[:1])
    paint_scenes([one], Painter(paint=fail, size=16, context=2.0), settings)
    assert (one.objects[0].chosen, one.objects[0].scores) == (1, ())
    single = PaintingSettings(candidates=1)
    paint_scenes([other], Painter(paint=fail, size=16, context=2.0), single)
    assert other.left_out == {0: "the network gave no finite numbers"}
    np.testing.assert_array_equal(other.pixels, SCENE)


def test_masks_are_those_of_the_shapes_or_of_what_changed() -> None:
    def find(before: Pixels, after: Pixels, paint: Bools, box: Box) -> Bools:
        assert (before != after).any(axis=2)[paint].all()
        found = np.zeros_like(paint)
        found[round(box[1]) + 1 : round(box[1]) + 3, round(box[0]) : round(box[0]) + 4] = True
        return found

    one, other = scene(FAR[:1]), scene(FAR[:1])
    tight = PaintingSettings(candidates=1, mask="tight", margin=0.0)
    painter = Painter(
        paint=Recorder(), size=16, context=2.0, condition="masks", find_mask=find, guided=True
    )
    one.shapes = [Shape(SHAPE.image, SHAPE.box), SHAPE]
    paint_scenes([one], painter, tight)
    made = one.objects[0]
    assert made.follows == "disc/1"
    np.testing.assert_allclose(made.box, FAR[0], atol=1)
    mask = mask_of(made)
    np.testing.assert_array_equal((one.pixels != SCENE).any(axis=2), mask)
    (request,) = painter.paint.rounds[0]  # type: ignore[attr-defined]
    assert request.size_class == 4
    assert request.picture.any()
    unconditional = Painter(paint=Recorder(), size=16, context=2.0, find_mask=find)
    paint_scenes([other], unconditional, PaintingSettings(candidates=1, margin=0.0))
    assert other.objects[0].box == (10, 11, 4, 2)
    assert mask_of(other.objects[0]).sum() == 8


def test_where_nothing_was_painted_the_scene_stays() -> None:
    one = scene(FAR[:1])
    painter = Painter(
        paint=Recorder(), size=16, context=2.0, find_mask=lambda *found: np.zeros_like(found[2])
    )
    paint_scenes([one], painter, PaintingSettings(candidates=1))
    assert one.left_out == {0: "no object: nothing differs from its surroundings"}
    np.testing.assert_array_equal(one.pixels, SCENE)


def test_without_a_mask_to_follow_nothing_is_painted() -> None:
    one = scene(FAR[:1])
    one.shapes = [Shape(SHAPE.image, SHAPE.box)]
    painter = Painter(paint=Recorder(), size=16, context=2.0, condition="masks")
    with pytest.raises(ValueError, match="no square of the class has a mask"):
        paint_scenes([one], painter, PaintingSettings())


def mask_of(made: PaintedObject) -> Bools:
    assert made.mask is not None
    return decode_runs(made.mask, 80, 100)


def test_it_stops_between_rounds() -> None:
    calls = iter([None, KeyboardInterrupt()])

    def check() -> None:
        if isinstance(found := next(calls), BaseException):
            raise found

    recorder = Recorder()
    painter = Painter(paint=recorder, size=16, context=2.0)
    with pytest.raises(KeyboardInterrupt):
        paint_scenes([scene(NEAR)], painter, PaintingSettings(candidates=1), check)
    assert len(recorder.rounds) == 1
