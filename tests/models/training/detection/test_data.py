"""Boxes follow their photo: into the square, through augmentation, and out of a batch."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.data.pixels import Floats, Pixels
from models.training.detection.augment import augment_boxes
from models.training.detection.data import (
    BoxedDataset,
    BoxedImages,
    class_pools,
    read_padded,
    scale_boxes,
    unpack_objects,
    with_boxes,
)
from models.training.task import ObjectTruth

SIDE = 64


def test_a_photo_is_padded_right_and_below_and_its_boxes_are_scaled(tmp_path: Path) -> None:
    photo = np.zeros((60, 200, 3), np.uint8)
    photo[20:40, 100:160] = 255
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    square = read_padded(tmp_path / "photo.png", SIDE)
    assert (square.scale, square.size) == (0.32, (200, 60))
    assert (square.pixels[20:] == 128).all()
    ((left, top, right, bottom, label),) = scale_boxes(
        [ObjectTruth(3, box=(100, 20, 60, 20))], square.scale
    )
    assert (left, right, label) == pytest.approx((32, 51.2, 3))
    white = np.argwhere(square.pixels[..., 0] > 200)
    assert abs(white.min(axis=0) - (top, left)).max() < 1
    assert abs(white.max(axis=0) + 1 - (bottom, right)).max() < 1


def test_boxes_move_with_their_photo_and_go_with_their_centre() -> None:
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    photo[4:24, 6:30] = 255
    objects = np.array([[6, 4, 30, 24, 1]], np.float32)
    kept = 0
    for number in range(40):
        changed, moved = augment_boxes(photo, objects, "crop", np.random.default_rng(number))
        same, again = augment_boxes(photo, objects, "crop", np.random.default_rng(number))
        assert np.array_equal(changed, same)
        assert np.array_equal(moved, again)
        bright = _bright_box(changed)
        if len(moved):
            assert abs(bright - moved[0, :4]).max() <= 1.5
            assert moved[0, 4] == 1
            kept += 1
        else:
            assert not bright.size or _is_cut(bright), "an object in full view was dropped"
    assert 20 <= kept < 40


def _bright_box(photo: Pixels) -> Floats:
    light = photo.mean(axis=2)
    # The object is white; borders are grey, which changes of light make brighter.
    places = np.argwhere(light > max(100, 0.75 * light.max()))
    if not len(places):
        return np.empty(0, np.float32)
    (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0) + 1
    return np.array([left, top, right, bottom], np.float32)


def _is_cut(box: Floats) -> bool:
    return bool((box[:2] == 0).any() or (box[2:] == SIDE).any())


def test_photos_of_one_batch_may_show_different_numbers_of_objects(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for path in files:
        cv2.imwrite(str(path), np.zeros((SIDE, SIDE, 3), np.uint8))
    truth = {
        files[0]: [ObjectTruth(0, box=(1, 2, 10, 20)), ObjectTruth(1, box=(30, 30, 90, 9))],
        files[1]: [],
        files[2]: [ObjectTruth(1)],
    }
    images = with_boxes([(path, 0) for path in files], truth)
    data = BoxedDataset(images, SIDE)
    first, second, third = unpack_objects(torch.stack([data[index][1] for index in range(3)]))
    assert first.boxes.tolist() == [[1, 2, 11, 22], [30, 30, 64, 39]][: len(first.boxes)]
    assert first.labels.tolist() == [0]
    assert (len(second.boxes), len(third.boxes)) == (0, 0), "an object without a box is none"
    with pytest.raises(ValueError, match=r"9\.png: its objects are not known"):
        with_boxes([(tmp_path / "9.png", 0)], truth)


def test_classes_and_photos_without_an_object_take_turns() -> None:
    both, single = (ObjectTruth(0), ObjectTruth(1), ObjectTruth(1)), (ObjectTruth(1),)
    files = tuple(Path(str(number)) for number in range(4))
    images = BoxedImages(files, (both, single, (), single))
    assert class_pools(images) == [[2], [0], [0, 1, 3]]
    assert class_pools(images, [0, 0, 1, 1]) == [[2], [0], [0, 1], [3]]
