"""Compares lossless codecs with that of synthset: PNG of libdeflate, level 1, filter "up".

The benchmark checks that each codec gives the same pixels back. Codecs of packages that synthset
does not need are measured where they are installed.
"""

import importlib
import io
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.machine import table
from benchmarks.photos import draw_photo, ingest_photo, make_samples_of
from flows.config.recipe import load_recipe
from models.data import pixels
from tasks.engine.run_context import RunContext
from tasks.store.store import open_store

Encode = Callable[[pixels.Pixels], bytes]
Decode = Callable[[bytes], Any]
SYNTHSET = "PNG of libdeflate 1, up (synthset)"
PILLOW = "Pillow PNG, default"
LEVEL, FILTER = cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_FILTER
STRATEGY = cv2.IMWRITE_PNG_STRATEGY


@dataclass(frozen=True)
class Codec:
    """CPU milliseconds to write and to read a megapixel, and megabytes per megapixel."""

    name: str
    write_ms: float
    read_ms: float
    size_mb: float


def measure(images: Sequence[pixels.Pixels], repeats: int) -> list[Codec]:
    """Measure each codec on the same RGB + matte images; the smallest of the repeats counts.

    Raises:
        RuntimeError: a codec changed pixels.
    """
    return [_time(name, write, read, images, repeats) for name, write, read in _codecs()]


def main(folder: Path) -> None:
    """Print the table for finished images of 768x1024, and the ratio to Pillow's default."""
    codecs = measure(make_images(folder), repeats=3)
    print(table(
        ["codec", "write ms/MP", "read ms/MP", "MB/MP"],
        [[codec.name, codec.write_ms, codec.read_ms, codec.size_mb] for codec in codecs],
    ))  # fmt: skip
    by_name = {codec.name: codec for codec in codecs}
    synthset, pillow = by_name[SYNTHSET], by_name[PILLOW]
    print(
        f"\n**synthset's setting writes {pillow.write_ms / synthset.write_ms:.1f} times as fast as "
        f"Pillow's default** and takes {synthset.size_mb / pillow.size_mb:.2f} times the bytes."
    )


def make_images(folder: Path) -> list[pixels.Pixels]:
    """Make images of 768x1024 with mattes: the views of one photo, one background each."""
    store = open_store(folder / "codecs")
    changes = [
        "generators.multiview.augment.n_augmentations=1",
        "generators.multiview.background.n_backgrounds=1",
        "generators.multiview.outpaint.grid_size=1",
    ]
    recipe = load_recipe("multiview", ["profile=classical", *changes])
    photo = draw_photo(folder, "mug", 3)
    source, shared = ingest_photo(RunContext(store, "ingest"), photo)
    run = RunContext(store, source.name)
    make_samples_of(run, recipe, source, shared)
    made = run.made.values()
    return [run.load(artifact) for artifact in made if artifact.stage == "outpaint"]


def _time(
    name: str, write: Encode, read: Decode, images: Sequence[pixels.Pixels], repeats: int
) -> Codec:
    writing, reading, blobs = [], [], []
    for _ in range(repeats):
        started = time.process_time()
        blobs = [write(image) for image in images]
        writing.append(time.process_time() - started)
        started = time.process_time()
        decoded = [read(blob) for blob in blobs]
        reading.append(time.process_time() - started)
    if not all(np.array_equal(a, b) for a, b in zip(images, decoded, strict=True)):
        raise RuntimeError(f"{name} changed pixels")
    megapixels = sum(image.shape[0] * image.shape[1] for image in images) / 1e6
    return Codec(
        name=name,
        write_ms=1e3 * min(writing) / megapixels,
        read_ms=1e3 * min(reading) / megapixels,
        size_mb=sum(map(len, blobs)) / 1e6 / megapixels,
    )


def _codecs() -> Iterator[tuple[str, Encode, Decode]]:
    yield SYNTHSET, pixels.encode_png, pixels.decode
    yield "OpenCV PNG, default", _opencv(), pixels.decode
    for name, flags in (
        ("1, up", [LEVEL, 1, FILTER, cv2.IMWRITE_PNG_FILTER_UP]),
        ("1, sub", [LEVEL, 1, FILTER, cv2.IMWRITE_PNG_FILTER_SUB]),
        ("1, paeth", [LEVEL, 1, FILTER, cv2.IMWRITE_PNG_FILTER_PAETH]),
        ("1, sub, Huffman only", _flags(cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)),
        ("1, sub, run lengths", _flags(cv2.IMWRITE_PNG_STRATEGY_RLE)),
        ("6, up", [LEVEL, 6, FILTER, cv2.IMWRITE_PNG_FILTER_UP]),
    ):
        yield f"OpenCV PNG {name}", _opencv(*flags), pixels.decode
    yield PILLOW, lambda image: _pillow(image, "PNG"), pixels.decode
    yield "Pillow PNG 1", lambda image: _pillow(image, "PNG", compress_level=1), pixels.decode
    yield (
        "Pillow WebP, lossless",
        lambda image: _pillow(image, "WEBP", lossless=True, exact=True, method=0, quality=0),
        lambda blob: np.asarray(Image.open(io.BytesIO(blob))),
    )
    yield "PNG of zlib 0 (no compression)", _png(lambda raw: zlib.compress(raw, 0)), pixels.decode
    yield from _optional_codecs()


def _optional_codecs() -> Iterator[tuple[str, Encode, Decode]]:
    isal = _import_if_installed("isal.isal_zlib")
    if isal:
        yield "PNG of ISA-L 1", _png(lambda raw: isal.compress(raw, 1)), pixels.decode
    fpng = _import_if_installed("fpng")
    if fpng:
        yield "fpng", fpng.from_ndarray, pixels.decode
    imagecodecs = _import_if_installed("imagecodecs")
    if imagecodecs:
        yield "QOI (imagecodecs)", imagecodecs.qoi_encode, imagecodecs.qoi_decode


def _import_if_installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _opencv(*flags: int) -> Encode:
    def encode(image: pixels.Pixels) -> bytes:
        _, blob = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA), list(flags))
        return blob.tobytes()

    return encode


def _flags(strategy: int) -> list[int]:
    return [LEVEL, 1, FILTER, cv2.IMWRITE_PNG_FILTER_SUB, STRATEGY, strategy]


def _pillow(image: pixels.Pixels, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form, **options)
    return stream.getvalue()


def _png(compress: Callable[[bytes], bytes]) -> Encode:
    """Return a PNG encoder that uses a compressor; NumPy filters rows (PNG specification, 9)."""

    def encode(image: pixels.Pixels) -> bytes:
        height, width = image.shape[:2]
        rows = image.reshape(height, -1)
        lines = np.full((height, rows.shape[1] + 1), 2, np.uint8)
        lines[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
        head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
        body = compress(lines.tobytes())
        chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + chunks

    return encode


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
    return struct.pack(">I", len(body)) + kind + body + check
