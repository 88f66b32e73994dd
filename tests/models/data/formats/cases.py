"""Images with random boxes and masks for the tests of the formats."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.data.formats.annotated import AnnotatedImage, Box, ObjectAnnotation, box_of_mask
from models.data.pixels import Bools, encode_png

CLASSES = ["mug", "mug big", "tea pot"]
WIDTH, HEIGHT = 23, 17


def write_image(file: Path, width: int = WIDTH, height: int = HEIGHT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_png(np.zeros((height, width, 3), np.uint8)))
    return file


@st.composite
def float_boxes(draw: st.DrawFn) -> Box:
    """Boxes inside the image with any float corners."""
    x = draw(st.floats(0, WIDTH - 1))
    y = draw(st.floats(0, HEIGHT - 1))
    width = draw(st.floats(1e-3, WIDTH - x).filter(lambda w: x + w <= WIDTH))
    height = draw(st.floats(1e-3, HEIGHT - y).filter(lambda h: y + h <= HEIGHT))
    return x, y, width, height


@st.composite
def pixel_boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    width, height = draw(st.integers(1, WIDTH - x)), draw(st.integers(1, HEIGHT - y))
    return float(x), float(y), float(width), float(height)


def masks() -> st.SearchStrategy[Bools]:
    fill = st.booleans()
    return arrays(np.bool_, (HEIGHT, WIDTH), elements=fill, fill=fill).filter(lambda m: m.any())


def objects() -> st.SearchStrategy[tuple[ObjectAnnotation, ...]]:
    """Objects with a box, a mask, or both."""
    labels = st.sampled_from(CLASSES)
    boxes = st.one_of(float_boxes(), pixel_boxes())
    kinds = st.one_of(
        st.builds(ObjectAnnotation, labels, boxes),
        st.builds(ObjectAnnotation, labels, boxes, masks()),
        st.builds(lambda label, mask: ObjectAnnotation(label, None, mask), labels, masks()),
    )
    return st.lists(kinds, max_size=4).map(tuple)


def expected_box(item: ObjectAnnotation) -> Box:
    """The box that a reader must give: the object's own, else the one around its mask."""
    if item.box is not None:
        return item.box
    assert item.mask is not None
    tight = box_of_mask(item.mask)
    assert tight is not None
    return tight


def assert_equal_objects(read: AnnotatedImage, written: AnnotatedImage, masks: bool = True) -> None:
    """Labels and masks are equal, and boxes to a millionth of a px."""
    assert (read.width, read.height) == (written.width, written.height)
    assert [o.label for o in read.objects] == [o.label for o in written.objects]
    for mine, other in zip(read.objects, written.objects, strict=True):
        assert mine.box is not None
        np.testing.assert_allclose(mine.box, expected_box(other), rtol=0, atol=2e-6)
        assert (mine.mask is None) == (other.mask is None or not masks)
        if mine.mask is not None and other.mask is not None:
            np.testing.assert_array_equal(mine.mask, other.mask)
