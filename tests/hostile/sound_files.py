"""Photo files that hold every pixel, in all the ways in which cameras and programs write them."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from tests.hostile.kinds import (
    SIZE,
    TAKEN,
    Input,
    Wanted,
    WriteFiles,
    draw_picture,
    noted,
)

Rng = np.random.Generator
_SIDEWAYS = SIZE[::-1]
_ORIENTATION = 0x0112


def write_format(path: Path, rng: Rng, number: int) -> list[Input]:
    """Every format that photos have, with its options."""
    options: tuple[tuple[str, dict[str, object]], ...] = (
        (".jpg", {"quality": 90}),
        (".jpeg", {"quality": 80, "progressive": True}),
        (".jpg", {"quality": 95, "subsampling": 0, "optimize": True}),
        (".png", {}),
        (".webp", {"quality": 90}),
        (".webp", {"lossless": True}),
        (".bmp", {}),
        (".gif", {}),
        (".tif", {"compression": "tiff_lzw"}),
        (".tiff", {"compression": "tiff_adobe_deflate"}),
        (".ppm", {}),
        (".jp2", {}),
        (".avif", {}),
    )
    suffix, how = options[number % len(options)]
    return [_save(path.with_name(path.name + suffix), draw_picture(rng), TAKEN, **how)]


def write_wrong_suffix(path: Path, rng: Rng, number: int) -> list[Input]:
    """The content of one format under the suffix of another."""
    pairs = (("JPEG", ".png"), ("PNG", ".jpg"), ("WEBP", ".jpeg"), ("TIFF", ".bmp"))
    form, suffix = pairs[number % len(pairs)]
    return [_save(path.with_name(path.name + suffix), draw_picture(rng), TAKEN, format=form)]


def write_turned(path: Path, rng: Rng, number: int) -> list[Input]:
    """An EXIF orientation."""
    orientation = 2 + number % 7
    suffix = (".jpg", ".png", ".webp", ".tif")[number % 4]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    wanted = noted(f"orientation {orientation}", _SIDEWAYS if orientation > 4 else SIZE)
    return [_save(path.with_name(path.name + suffix), draw_picture(rng), wanted, exif=exif)]


def write_colours(path: Path, rng: Rng, number: int) -> list[Input]:
    """Grey, palette, black and white, and CMYK."""
    grey = noted("grey")
    cases: tuple[tuple[str, str, Wanted], ...] = (
        ("L", ".png", grey),
        ("L", ".jpg", grey),
        ("1", ".png", grey),
        ("P", ".png", TAKEN),
        ("CMYK", ".jpg", noted("CMYK")),
        ("CMYK", ".tif", noted("CMYK")),
    )
    mode, suffix, wanted = cases[number % len(cases)]
    return [_save(path.with_name(path.name + suffix), draw_picture(rng).convert(mode), wanted)]


def write_deep(path: Path, rng: Rng, number: int) -> list[Input]:
    """16 bits a value, over the whole range or the lowest 12 bits of it, also in colour."""
    if number % 5 == 4:
        colours = np.asarray(draw_picture(rng), np.uint16) * np.uint16(257)
        file = path.with_name(path.name + ".png")
        cv2.imwrite(str(file), np.ascontiguousarray(colours[..., ::-1]))
        return [Input(file, noted("16-bit"))]
    grey = np.asarray(draw_picture(rng).convert("L"), np.uint16)
    scale, says = ((257, "16-bit"), (16, "12-bit"))[number % 2]
    suffix = (".png", ".tif")[number // 2 % 2]
    image = Image.fromarray(grey * np.uint16(scale))
    return [_save(path.with_name(path.name + suffix), image, noted(says))]


def write_narrow(path: Path, rng: Rng, number: int) -> list[Input]:
    """16 bits a value of which a thermal camera uses a few hundred."""
    grey = np.asarray(draw_picture(rng).convert("L"), np.uint16)
    image = Image.fromarray(np.uint16(rng.integers(20_000, 60_000)) + grey)
    wanted = noted("narrow|stretched|range")
    return [_save(path.with_name(path.name + ".png"), image, wanted)]


def write_floats(path: Path, rng: Rng, number: int) -> list[Input]:
    """Floats from 0 to 1."""
    grey = np.asarray(draw_picture(rng).convert("L"), np.float32) / 255
    return [_save(path.with_name(path.name + ".tif"), Image.fromarray(grey), noted("float"))]


def write_animation(path: Path, rng: Rng, number: int) -> list[Input]:
    """Several frames of one size."""
    suffix = (".gif", ".webp", ".png")[number % 3]
    frames = [draw_picture(rng) for _ in range(3)]
    how = {"save_all": True, "append_images": frames[1:], "duration": 100}
    return [_save(path.with_name(path.name + suffix), frames[0], noted("frame"), **how)]


def write_pages(path: Path, rng: Rng, number: int) -> list[Input]:
    """A TIFF whose first page is a thumbnail of the second."""
    large = draw_picture(rng)
    pages = [large.resize((48, 36)), large]
    how = {"save_all": True, "append_images": pages[1:]}
    return [_save(path.with_name(path.name + ".tif"), pages[0], noted("page|frame", SIZE), **how)]


def write_metadata(path: Path, rng: Rng, number: int) -> list[Input]:
    """Metadata that a reader could stumble over: long texts, broken EXIF, profiles of zeros."""
    image = draw_picture(rng)
    case = number % 3
    if case == 0:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("parameters", "y" * 3_000_000, zip=True)
        wanted = Wanted(("taken", "noted"), "text|metadata|iTXt")
        return [_save(path.with_name(path.name + ".png"), image, wanted, pnginfo=text)]
    if case == 1:
        exif = b"Exif\0\0II*\0" + rng.bytes(200)
        wanted = Wanted(("taken", "noted"), "EXIF")
        return [_save(path.with_name(path.name + ".jpg"), image, wanted, exif=exif)]
    zeros = bytes(int(rng.integers(100, 2_000_000)))
    return [_save(path.with_name(path.name + ".png"), image, noted("profile"), icc_profile=zeros)]


def write_profile(path: Path, rng: Rng, number: int) -> list[Input]:
    """The colour profile sRGB, which changes nothing."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    suffix = (".png", ".jpg", ".webp")[number % 3]
    image = draw_picture(rng)
    return [_save(path.with_name(path.name + suffix), image, TAKEN, icc_profile=profile)]


def write_wrong_checksum(path: Path, rng: Rng, number: int) -> list[Input]:
    """A PNG whose pHYs chunk has a wrong checksum."""
    content = bytearray(_encoded(draw_picture(rng), "PNG", dpi=(72, 72)))
    content[content.index(b"pHYs") + 4 + 9] ^= 1
    return [_write(path, ".png", bytes(content), Wanted(("taken", "noted"), "pHYs|checksum"))]


def write_no_end(path: Path, rng: Rng, number: int) -> list[Input]:
    """A JPEG without its end marker, or a PNG without its IEND chunk."""
    wanted = Wanted(("taken", "noted"), "end marker|IEND|end of the file")
    if number % 2:
        return [_write(path, ".jpg", _encoded(draw_picture(rng), "JPEG")[:-2], wanted)]
    return [_write(path, ".png", _encoded(draw_picture(rng), "PNG")[:-12], wanted)]


def write_more_bytes(path: Path, rng: Rng, number: int) -> list[Input]:
    """Bytes after the end of the photo, as phones append them."""
    form, suffix = (("JPEG", ".jpg"), ("PNG", ".png"))[number % 2]
    content = _encoded(draw_picture(rng), form) + rng.bytes(int(rng.integers(1, 5000)))
    return [_write(path, suffix, content, TAKEN)]


def write_large(path: Path, rng: Rng, number: int) -> list[Input]:
    """More pixels than the recipe wants (`ingest.max_side`)."""
    size = (700, int(rng.integers(300, 700)))
    wanted = noted(f"scaled down from {size[0]}x{size[1]}")
    return [_save(path.with_name(path.name + ".jpg"), draw_picture(rng, size), wanted)]


def write_unknown_chunk(path: Path, rng: Rng, number: int) -> list[Input]:
    """A PNG with a chunk of a program's own."""
    content = _encoded(draw_picture(rng), "PNG")
    body = b"prVt" + rng.bytes(40)
    chunk = struct.pack(">I", 40) + body + struct.pack(">I", zlib.crc32(body))
    return [_write(path, ".png", content[:33] + chunk + content[33:], TAKEN)]


KINDS: dict[str, WriteFiles] = {
    "a format": write_format,
    "another suffix": write_wrong_suffix,
    "orientation": write_turned,
    "colours": write_colours,
    "16 bits": write_deep,
    "16 bits, narrow": write_narrow,
    "floats": write_floats,
    "animation": write_animation,
    "pages": write_pages,
    "metadata": write_metadata,
    "profile": write_profile,
    "wrong checksum": write_wrong_checksum,
    "no end marker": write_no_end,
    "more bytes": write_more_bytes,
    "large": write_large,
    "unknown chunk": write_unknown_chunk,
}


def _encoded(image: Image.Image, form: str, **how: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


def _save(path: Path, image: Image.Image, wanted: Wanted, **how: object) -> Input:
    image.save(path, **how)
    return Input(path, wanted)


def _write(path: Path, suffix: str, content: bytes, wanted: Wanted) -> Input:
    file = path.with_name(path.name + suffix)
    file.write_bytes(content)
    return Input(file, wanted)
