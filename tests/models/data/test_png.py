"""PNG files hold exactly the pixels, and other programs read them."""

import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from models.data.pixels import decode, encode_png
from models.data.png import write_png

RNG = np.random.default_rng(0)
IMAGES = {
    "grey": RNG.integers(0, 256, (5, 7), np.uint8),
    "grey, three axes": RNG.integers(0, 256, (5, 7, 1), np.uint8),
    "RGB": RNG.integers(0, 256, (5, 7, 3), np.uint8),
    "RGBA": RNG.integers(0, 256, (5, 7, 4), np.uint8),
    "16 bits": RNG.integers(0, 65536, (5, 7), np.uint16),
    "RGB of 16 bits": RNG.integers(0, 65536, (5, 7, 3), np.uint16),
    "one px": np.array([[200]], np.uint8),
    "parts of a larger image": RNG.integers(0, 256, (10, 14, 4), np.uint8)[::2, ::2, :3],
}


@pytest.mark.parametrize("name", IMAGES)
def test_keeps_every_pixel(name: str) -> None:
    image = IMAGES[name]
    np.testing.assert_array_equal(decode(encode_png(image)), np.squeeze(image))


@pytest.mark.parametrize("name", ["grey", "RGB", "RGBA", "16 bits", "one px"])
def test_pillow_reads_the_same_pixels(name: str) -> None:
    """Pillow verifies the checksum of each chunk, which OpenCV does not."""
    blob = write_png(IMAGES[name])
    Image.open(io.BytesIO(blob)).verify()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(blob))), IMAGES[name])


def test_compresses_a_flat_image_as_well_as_opencv() -> None:
    flat = np.full((256, 256, 3), 90, np.uint8)
    _, by_opencv = cv2.imencode(".png", flat, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert len(write_png(flat)) <= len(by_opencv)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), np.zeros((4, 4), float)]
)
def test_refuses_what_is_no_image(image: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"can't be written; give uint8 or uint16"):
        encode_png(image)
