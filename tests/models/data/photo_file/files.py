"""Small image files of every kind, for the tests of this folder."""

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

WIDTH, HEIGHT = 96, 64


def draw_scene(seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth picture of 96 x 64 px."""
    coarse = np.random.default_rng(seed).integers(20, 236, (4, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def draw_disc() -> npt.NDArray[np.uint8]:
    """The mask of a disc in the middle."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.where((x - 48) ** 2 + (y - 32) ** 2 < 24**2, 255, 0).astype(np.uint8)


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def save_tiff(
    *pages: npt.NDArray[Any], byteorder: Literal["<", ">"] = "<", **options: Any
) -> bytes:
    """The bytes of a TIFF of several pages."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, byteorder=byteorder) as document:
        for page in pages:
            document.write(page, **options)
    return stream.getvalue()


def insert_chunk(blob: bytes, name: bytes, body: bytes, *, is_sound: bool = True) -> bytes:
    """A PNG with one more chunk after its header."""
    checksum = zlib.crc32(name + body) ^ (0 if is_sound else 1)
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)
    return blob[:33] + chunk + blob[33:]
