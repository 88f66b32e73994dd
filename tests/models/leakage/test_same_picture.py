"""The same picture is found after a crop, a turn, a mirror or a frame; other pictures are not."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from models.data.pixels import Pixels
from models.leakage.local_features import find_local_features
from models.leakage.same_picture import LEAST_COVERAGE, PictureMatch, match_pictures
from tests.models.leakage.photos import crop, read_photos

CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "crop 30 %": lambda photo: crop(photo, 0.3),
    "turned and mirrored": lambda photo: np.ascontiguousarray(np.rot90(photo[:, ::-1])),
    "border 10 %": lambda photo: np.pad(photo, ((40, 40), (40, 40), (0, 0)), constant_values=255),
    "turned by 10 degrees": lambda photo: turn(photo, 10),
}


def turn(photo: Pixels, degrees: float) -> Pixels:
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(photo, matrix, (width, height)), np.uint8)


@pytest.mark.parametrize("change", CHANGES)
def test_finds_a_changed_copy(change: str) -> None:
    for photo in read_photos(4):
        copy = find_local_features(CHANGES[change](photo))
        match = match_pictures(find_local_features(photo), copy)
        assert match is not None
        assert match.is_same_picture
        assert match_pictures(find_local_features(photo), copy) == match


def test_takes_no_two_photos_for_one() -> None:
    known = [find_local_features(photo) for photo in read_photos(6)]
    pairs = [(first, second) for first in range(6) for second in range(first)]
    assert [pair for pair in pairs if match_pictures(known[pair[0]], known[pair[1]])] == []


def test_photos_that_share_a_part_show_the_same_place() -> None:
    first, second = (photo[:360, :360] for photo in read_photos(2))
    shared = first.copy()
    shared[:, 130:] = second[:, 130:]
    match = match_pictures(find_local_features(first), find_local_features(shared))
    assert match is None or not match.is_same_picture


def test_coverage_decides() -> None:
    assert PictureMatch(20, LEAST_COVERAGE).is_same_picture
    assert not PictureMatch(200, LEAST_COVERAGE - 0.01).is_same_picture


def test_a_blank_photo_matches_nothing() -> None:
    blank = find_local_features(np.full((80, 80, 3), 200, np.uint8))
    assert match_pictures(blank, blank) is None
