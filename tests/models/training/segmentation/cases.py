"""Photos of coloured discs with masks, for the tests of segmentation."""

from pathlib import Path

import cv2
import numpy as np

from models.training.segmentation.data import MaskedImages, with_masks
from models.training.segmentation.settings import SegmentationParameters
from models.training.task import ObjectTruth

SIDE = 64
COLOURS = {0: (40, 40, 220), 1: (220, 60, 40)}


def draw(folder: Path, number: int, values: tuple[int, int] = (0, 255)) -> None:
    """A grey photo, wider than high, with a disc of the colour of its class, and its mask."""
    rng = np.random.default_rng(number)
    photo = rng.integers(90, 130, (48, SIDE, 3), np.uint8)
    mask = np.full((48, SIDE), values[0], np.uint8)
    centre = int(rng.integers(16, 48)), int(rng.integers(14, 34))
    cv2.circle(photo, centre, 13, COLOURS[number % 2], -1)
    cv2.circle(mask, centre, 13, values[1], -1)
    cv2.imwrite(str(folder / f"{number}.png"), photo)
    cv2.imwrite(str(folder / f"{number}_mask.png"), mask)


def masked_images(folder: Path, numbers: range, settings: SegmentationParameters) -> MaskedImages:
    """The photos with these numbers, of two classes."""
    files = [(folder / f"{number}.png", number % 2) for number in numbers]
    truth = {
        path: [ObjectTruth(label, path.with_name(f"{path.stem}_mask.png"))] for path, label in files
    }
    return with_masks(files, truth, ("red", "blue"), settings)
