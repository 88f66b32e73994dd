"""Squares of objects: where they lie, what of the object they know, and what is left out."""

from pathlib import Path

import numpy as np

from models.data.records import Annotation, SourceImage
from tasks.generate.finetuning.ddpm.object_square import object_squares
from tests.tasks.generate.finetuning.ddpm.scenes import SQUARES, open_run, put, scene, scenes


def test_a_square_holds_the_object_and_knows_its_box(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    first, second = object_squares.run(run, SQUARES, "car", scenes(run))
    assert [square.name for square in (first, second)] == ["scene/0", "scene/1"]
    # Twice the longer side, in the middle of the square.
    assert first.metadata == {"box": [4.0, 4.67, 8.0, 6.67], "side": 24}
    # At the photo's corner.
    assert second.metadata == {"box": [0.0, 0.0, 5.71, 8.0], "side": 28}
    pixels = run.load(first)
    assert pixels.shape == (16, 16, 3)
    assert pixels[6:10, 6:10].max() < 60
    assert pixels[:3].min() > 200


def test_the_mask_of_an_object_is_the_alpha_channel(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    photo = scene(run, 2, {"car": (20, 20, 16, 16)})
    mask = np.zeros((64, 80), np.uint8)
    mask[20:36, 20:28] = 255
    note = Annotation(label="car", box=(20, 20, 16, 16), mask=put(run, "mask", mask))
    masked = photo.model_copy(update={"annotations": (note,)})
    (square,) = object_squares.run(run, SQUARES, "car", [masked])
    # The square is around the mask, not around the looser box.
    assert square.metadata == {"box": [6.0, 4.0, 4.0, 8.0], "side": 32}
    alpha = run.load(square)[..., 3]
    assert np.array_equal(np.argwhere(alpha == 255).min(axis=0), (4, 6))
    assert (alpha == 255).sum() == 4 * 8
    plain = SQUARES.model_copy(update={"masks": False})
    (square,) = object_squares.run(run, plain, "car", [masked])
    assert run.load(square).shape == (16, 16, 3)


def test_small_and_impossible_objects_are_left_out(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    photos = [
        scene(run, 3, {"car": (5, 5, 6, 4)}),
        scene(run, 4, {"car": (0, 5, 80, 8)}),
    ]
    assert object_squares.run(run, SQUARES, "car", photos) == []
    reasons = {artifact.reject_reason for artifact in run.made.values()}
    assert "object too small: 6x4 px" in reasons
    assert any("its box is 80 px long" in str(reason) for reason in reasons)


def test_a_photo_of_one_object_without_box_gives_its_middle(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    photo = scene(run, 5, {})
    whole: SourceImage = photo.model_copy(update={"annotations": (Annotation(label="car"),)})
    (square,) = object_squares.run(run, SQUARES, "car", [whole])
    assert square.metadata == {"box": [0.0, 0.0, 16.0, 16.0], "side": 64}
