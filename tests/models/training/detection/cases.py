"""Photos of coloured squares with boxes, for the tests of detection."""

from pathlib import Path

import cv2
import numpy as np

from models.training.task import ObjectTruth, TrainingSets

WIDTH, HEIGHT = 96, 72
COLOURS = ((40, 40, 220), (220, 60, 40))
CLASSES = ("red", "blue")


def draw(folder: Path, number: int, amount: int = 1) -> tuple[Path, list[ObjectTruth]]:
    """A grey photo, wider than high, with squares of one class, and their boxes."""
    rng = np.random.default_rng(number)
    photo = rng.integers(90, 130, (HEIGHT, WIDTH, 3), np.uint8)
    objects = []
    for left in range(4, 4 + amount * 46, 46):
        top, side = int(rng.integers(4, 40)), int(rng.integers(24, 30))
        photo[top : top + side, left : left + side] = COLOURS[number % 2]
        objects.append(ObjectTruth(number % 2, box=(left, top, side, side)))
    path = folder / f"{number}.png"
    cv2.imwrite(str(path), photo)
    return path, objects


def boxed_sets(folder: Path, train: int, val: int) -> TrainingSets:
    """So many photos of two classes; each fifth one shows no object, each third one two."""
    truth = dict(
        draw(folder, number, 0 if number % 5 == 4 else 1 + (number % 3 == 0))
        for number in range(train + val)
    )
    images = [(path, number % 2) for number, path in enumerate(truth)]
    return TrainingSets(images[:train], images[train:], CLASSES, truth=truth)
