"""What is painted for a new object: its box or its mask, and never another object."""

import numpy as np
import pytest

from models.data.formats.annotated import box_of_mask
from models.data.objects import PixelBox
from models.diffusion.ddpm.control.bank import Shape
from models.diffusion.ddpm.repaint.crop import Crop
from models.diffusion.ddpm.repaint.part import Part, find_part, paint_order
from models.diffusion.ddpm.repaint.settings import MaskKind

FRAME = (100, 80)
BOX: PixelBox = (40, 30, 10, 20)
DISC = np.hypot(*(np.indices((32, 32)) - 15.5)) < 8
SHAPE = Shape(
    np.where(DISC[..., None], 20, 200).repeat(3, 2).astype(np.uint8), (8, 8, 16, 16), DISC
)


def part_of(kind: MaskKind, margin: float, shape: Shape | None = SHAPE, *others: PixelBox) -> Part:
    return find_part(BOX, FRAME, others, shape, size=16, context=2.0, kind=kind, margin=margin)


def test_a_square_is_the_box_and_its_margin() -> None:
    part = part_of("square", 0.0, None)
    assert part.crop == Crop(25, 20, 40)
    assert part.box == (15, 10, 10, 20)
    assert box_of_mask(part.paint) == (15, 10, 10, 20)
    assert part.mask is None
    assert box_of_mask(part_of("square", 0.1, None).paint) == (13, 8, 14, 24)


def test_a_tight_mask_is_that_of_the_shape_in_the_box() -> None:
    exact, wider = part_of("tight", 0.0), part_of("tight", 0.1)
    assert exact.mask is not None
    np.testing.assert_array_equal(exact.paint, exact.mask)
    np.testing.assert_allclose(box_of_mask(exact.mask), exact.box, atol=1)
    assert exact.mask.sum() == pytest.approx(np.pi * 5 * 10, rel=0.1)
    np.testing.assert_array_equal(wider.mask, exact.mask)
    assert (wider.paint | exact.mask == wider.paint).all()
    x, y, width, height = box_of_mask(exact.mask) or BOX
    assert box_of_mask(wider.paint) == (x - 2, y - 2, width + 4, height + 4)
    with pytest.raises(ValueError, match="tight needs squares with masks"):
        part_of("tight", 0.0, Shape(SHAPE.image, SHAPE.box))


def test_no_px_of_another_object_is_painted() -> None:
    part = part_of("square", 0.5, SHAPE, (36, 28, 6, 6))
    assert not part.paint[28 - 20 : 34 - 20, 36 - 25 : 42 - 25].any()
    assert part.paint.sum() == part_of("square", 0.5).paint.sum() - 36


def test_pictures_are_the_mask_or_edges_of_the_shape_and_the_scene() -> None:
    scene = np.zeros((80, 100, 3), np.uint8)
    scene[:, :30] = 255
    part, rng = part_of("square", 0.0), np.random.default_rng(0)
    assert part.picture(scene, 16, "none", rng) is None
    assert part_of("square", 0.0, None).picture(scene, 16, "edges", rng) is None
    mask = part.picture(scene, 16, "masks", rng)
    assert mask is not None
    assert mask.shape == (16, 16, 1)
    np.testing.assert_allclose(box_of_mask(mask[..., 0] > 0), (6, 4, 4, 8), atol=1)
    edges = part.picture(scene, 16, "edges", rng)
    assert edges is not None
    assert edges.shape == (16, 16, 1)
    assert edges[:3, 1:3].any()
    assert not edges[:, 12:].any()
    assert edges[4:12, 6:10].any()


def test_parts_that_overlap_are_painted_one_after_another() -> None:
    crops = [Crop(0, 0, 10), Crop(30, 0, 10), Crop(8, 8, 10), Crop(10, 0, 8), Crop(16, 16, 4)]
    assert paint_order(crops) == [[0, 1, 3], [2], [4]]
    assert paint_order([]) == []
