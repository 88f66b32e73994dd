"""Objects of an image, compared with plain loops over pixels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import decode_runs as decode_mask
from models.data.formats.polygons import encode_mask
from models.data.objects import scale_box, shift_objects

Mask = npt.NDArray[np.bool_]
HEIGHT, WIDTH = 9, 13
MASKS = arrays(np.bool_, (HEIGHT, WIDTH))
SHIFTS = st.integers(-15, 15)


def shift_by_loop(mask: Mask, dx: int, dy: int) -> Mask:
    """Each pixel moved on its own; those that leave the frame are lost."""
    moved = np.zeros_like(mask)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if mask[y, x] and 0 <= y + dy < HEIGHT and 0 <= x + dx < WIDTH:
                moved[y + dy, x + dx] = True
    return moved


def box_by_loop(mask: Mask) -> tuple[int, int, int, int] | None:
    inside = [(x, y) for y in range(HEIGHT) for x in range(WIDTH) if mask[y, x]]
    if not inside:
        return None
    xs, ys = [x for x, _ in inside], [y for _, y in inside]
    return min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1


def entry(label: str, box: Any = None, mask: Mask | None = None) -> dict[str, Any]:
    return {"label": label, "box": box, "mask": None if mask is None else encode_mask(mask)}


@given(arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_a_decoded_mask_equals_the_encoded_one(mask: Mask) -> None:
    text = encode_mask(mask)
    decoded = decode_mask(text, *mask.shape)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)


@given(MASKS)
def test_the_box_is_the_smallest_around_the_mask(mask: Mask) -> None:
    assert box_of_mask(mask) == box_by_loop(mask)


@given(MASKS, SHIFTS, SHIFTS)
@settings(max_examples=300)
def test_a_mask_and_its_box_move_with_the_image(mask: Mask, dx: int, dy: int) -> None:
    moved = shift_objects([entry("mug", [0, 0, 1, 1], mask)], dx, dy, HEIGHT, WIDTH)
    expected = shift_by_loop(mask, dx, dy)
    if not expected.any():
        assert moved == []
        return
    (found,) = moved
    assert found["label"] == "mug"
    assert found["mask"] is not None
    np.testing.assert_array_equal(decode_mask(found["mask"], HEIGHT, WIDTH), expected)
    assert tuple(found["box"] or ()) == box_by_loop(expected)


@given(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.data(), SHIFTS, SHIFTS)
@settings(max_examples=300)
def test_a_box_without_a_mask_is_cut_at_the_frame(
    x: int, y: int, data: st.DataObject, dx: int, dy: int
) -> None:
    width = data.draw(st.integers(1, WIDTH - x))
    height = data.draw(st.integers(1, HEIGHT - y))
    filled = np.zeros((HEIGHT, WIDTH), bool)
    filled[y : y + height, x : x + width] = True
    expected = box_by_loop(shift_by_loop(filled, dx, dy))
    moved = shift_objects([entry("mug", [x, y, width, height])], dx, dy, HEIGHT, WIDTH)
    assert [tuple(found["box"] or ()) for found in moved] == ([expected] if expected else [])
    assert all(found["mask"] is None for found in moved)


def test_objects_keep_their_order_and_those_that_left_the_frame_are_dropped() -> None:
    left, right = np.zeros((2, HEIGHT, WIDTH), bool)
    left[2:4, 0:2] = True
    right[2:4, 8:10] = True
    objects = [entry("a", None, left), entry("b", None, right), entry("c", [6, 1, 2, 2])]
    moved = shift_objects(objects, -2, 0, HEIGHT, WIDTH)
    assert [found["label"] for found in moved] == ["b", "c"]


@given(st.tuples(*[st.floats(0, 100)] * 4), st.floats(0.1, 8), st.floats(0.1, 8))
def test_a_scaled_box_spans_the_scaled_corners(
    box: tuple[float, ...], factor_x: float, factor_y: float
) -> None:
    x, y, width, height = scale_box(box, factor_x, factor_y)
    assert (x, y) == pytest.approx((box[0] * factor_x, box[1] * factor_y))
    assert x + width == pytest.approx((box[0] + box[2]) * factor_x)
    assert y + height == pytest.approx((box[1] + box[3]) * factor_y)


@pytest.mark.parametrize(
    "text", ["ä", "not run lengths at all", encode_mask(np.ones((99, 3), bool))]
)
def test_refuses_a_text_that_is_no_mask_or_of_a_larger_one(text: str) -> None:
    with pytest.raises(ValueError, match="run"):
        decode_mask(text, HEIGHT, WIDTH)
