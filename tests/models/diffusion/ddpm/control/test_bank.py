"""Shapes are drawn by their proportions, mirrored with all their parts, and put into a box."""

import numpy as np

from models.data.formats.annotated import box_of_mask
from models.data.pixels import Bools
from models.data.records import Box
from models.diffusion.ddpm.control.bank import Shape, draw_shape, edges_around, place_shape


def shape_of(left: int, top: int, width: int, height: int, name: str = "") -> Shape:
    """A dark block on light ground, with its mask; its box is as loose as boxes by hand are."""
    mask = np.zeros((32, 32), bool)
    mask[top : top + height, left : left + width] = True
    image = np.where(mask[..., None], 10, 240).astype(np.uint8).repeat(3, axis=2)
    return Shape(image, (left - 1.0, top - 1.0, width + 2.0, height + 2.0), mask, name)


def test_drawn_shapes_have_the_proportions_of_the_box() -> None:
    wide, high = shape_of(4, 12, 24, 6, "wide"), shape_of(12, 4, 6, 24, "high")
    shapes = [wide, high, shape_of(8, 8, 12, 10, "a"), shape_of(8, 8, 10, 12, "b")]
    for size, name in (((40.0, 10.0), "wide"), ((9.0, 50.0), "high")):
        rng = np.random.default_rng(0)
        assert {draw_shape(shapes, size, True, rng).name for _ in range(8)} == {name}
    rng = np.random.default_rng(0)
    alike = [shape_of(8, 8, 8, 8, str(number)) for number in range(12)]
    assert len({draw_shape(alike, (9, 9), False, rng).name for _ in range(40)}) == 3


def test_mirror_images_keep_the_parts_of_a_shape_together() -> None:
    shape = shape_of(4, 12, 10, 6)
    rng = np.random.default_rng(0)
    lefts = [draw_shape([shape], (10, 6), True, rng).box[0] for _ in range(20)]
    assert set(lefts) == {3.0, 17.0}
    assert {draw_shape([shape], (10, 6), False, rng).box[0] for _ in range(20)} == {3.0}
    mirrored = shape.mirrored()
    assert mirrored.mask is not None
    assert box_of_mask(mirrored.mask) == (18, 12, 10, 6)
    np.testing.assert_array_equal(mirrored.image[..., 0] < 128, mirrored.mask)


def check_fills(mask: Bools, box: Box) -> None:
    found = box_of_mask(mask)
    assert found is not None
    np.testing.assert_allclose(found, box, atol=1)


def test_a_placed_shape_fills_its_box() -> None:
    shape = shape_of(4, 12, 10, 6)
    for box in ((5.0, 7.0, 10.0, 6.0), (20.0, 8.0, 30.0, 40.0), (3.0, 3.0, 5.0, 4.0)):
        image, mask = place_shape(shape, box, 64)
        assert mask is not None
        check_fills(mask, box)
        assert image.shape == (64, 64, 3)
        np.testing.assert_allclose(image[mask].mean(), 10, atol=20)
        assert image[~mask].mean() > 230
    assert place_shape(Shape(shape.image, shape.box), (5, 7, 10, 6), 64)[1] is None


def test_edges_are_of_the_shape_inside_and_of_the_scene_outside() -> None:
    scene, part = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), bool)
    scene[:, :3], part[6:26, 6:26] = 255, True
    shape = shape_of(10, 10, 10, 10).image
    edges = edges_around(scene, shape, part, np.random.default_rng(0))
    assert (edges.shape, edges.dtype) == ((32, 32, 1), np.uint8)
    rows, columns = np.nonzero(edges[..., 0])
    assert set(edges.ravel().tolist()) == {0, 255}
    assert set(columns[rows < 6].tolist()) <= {2, 3}
    assert columns[rows < 6].size
    inside = part[rows, columns]
    assert 9 <= columns[inside].min() <= 10
    assert 19 <= columns[inside].max() <= 20
    again = edges_around(scene, shape, part, np.random.default_rng(0))
    np.testing.assert_array_equal(edges, again)
