"""Masks as run lengths and polygons."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy import ndimage

from models.data.formats.polygons import (
    decode_runs,
    encode_mask,
    encode_part,
    encode_runs,
    mask_to_polygon,
    polygons_to_mask,
)
from models.data.pixels import Bools
from tests.models.data.formats.cases import masks


def has_hole(mask: Bools) -> bool:
    """A hole is background that does not reach the border, also across corners."""
    return bool((ndimage.binary_fill_holes(mask, np.ones((3, 3))) != mask).any())


@given(masks())
def test_a_polygon_gives_back_exactly_the_mask(mask: Bools) -> None:
    if has_hole(mask):
        with pytest.raises(ValueError, match="hole"):
            mask_to_polygon(mask)
    else:
        polygon = [value for point in mask_to_polygon(mask) for value in point]
        np.testing.assert_array_equal(polygons_to_mask([polygon], *mask.shape), mask)


def test_a_rectangle_becomes_its_four_corners() -> None:
    mask = np.zeros((5, 6), np.bool_)
    mask[1:3, 2:6] = True
    assert mask_to_polygon(mask) == [(2, 1), (6, 1), (6, 3), (2, 3)]


@given(masks())
def test_compressed_runs_are_those_of_pycocotools(mask: Bools) -> None:
    runs = encode_runs(mask)
    np.testing.assert_array_equal(coco_mask.decode(runs), mask)
    np.testing.assert_array_equal(decode_runs(runs["counts"], *mask.shape), mask)


@given(masks(), st.tuples(*[st.integers(0, 3)] * 4))
def test_a_part_of_an_empty_image_has_the_runs_of_the_whole(
    mask: Bools, space: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = space
    whole = np.pad(mask, ((top, bottom), (left, right)))
    assert encode_part(mask, (left, top), whole.shape[::-1]) == encode_mask(whole)


@given(masks())
def test_reads_uncompressed_runs(mask: Bools) -> None:
    flat = mask.T.ravel()
    borders = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *borders.tolist(), flat.size]).tolist()
    counts = [0, *runs] if flat[0] else runs
    np.testing.assert_array_equal(decode_runs(counts, *mask.shape), mask)


@given(st.one_of(st.text(max_size=30), st.lists(st.integers(-3, 30), max_size=8)))
def test_malformed_runs_are_an_error_and_never_wrong_memory(counts: str | list[int]) -> None:
    try:
        mask = decode_runs(counts, 5, 4)
    except ValueError:
        return
    assert mask.shape == (5, 4)
    assert mask.dtype == np.bool_
