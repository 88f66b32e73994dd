"""Photo files whose pixels are sound, and whose other content is odd: metadata, ends, checksums."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from tests.hostile.kinds import SIZE, TAKEN, FileKind, Input, Wanted, draw_picture, noted

Rng = np.random.Generator
_WITH_PROFILE = (".png", ".jpg", ".webp")
_NO_END = (("PNG", ".png", 12), ("JPEG", ".jpg", 2))
_MORE_BYTES = (("JPEG", ".jpg"), ("PNG", ".png"))


def write_long_text(path: Path, rng: Rng, case: int) -> list[Input]:
    """A text of 3 MB in a PNG, as programs write their settings: it decides nothing."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt("parameters", "y" * 3_000_000, zip=True)
    return [_save(path.with_name(path.name + ".png"), draw_picture(rng), TAKEN, pnginfo=text)]


def write_broken_exif(path: Path, rng: Rng, case: int) -> list[Input]:
    """An EXIF block of random bytes: the photo is shown as stored, as in viewers."""
    exif = b"Exif\0\0II*\0" + rng.bytes(200)
    wanted = Wanted("taken", size=SIZE)
    return [_save(path.with_name(path.name + ".jpg"), draw_picture(rng), wanted, exif=exif)]


def write_broken_profile(path: Path, rng: Rng, case: int) -> list[Input]:
    """A colour profile of zeros."""
    zeros, wanted = bytes(int(rng.integers(100, 2_000_000))), noted("ICC profile ignored")
    image = draw_picture(rng)
    return [_save(path.with_name(path.name + ".png"), image, wanted, icc_profile=zeros)]


def write_profile(path: Path, rng: Rng, case: int) -> list[Input]:
    """The colour profile sRGB, which changes nothing."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # the time of creation
    suffix = _WITH_PROFILE[case]
    image = draw_picture(rng)
    return [_save(path.with_name(path.name + suffix), image, TAKEN, icc_profile=bytes(profile))]


def write_wrong_checksum(path: Path, rng: Rng, case: int) -> list[Input]:
    """A PNG whose pHYs chunk has a wrong checksum."""
    content = bytearray(_encoded(draw_picture(rng), "PNG", dpi=(72, 72)))
    content[content.index(b"pHYs") + 4 + 9] ^= 1
    return [_write(path, ".png", bytes(content), noted("the damaged chunk pHYs is ignored"))]


def write_no_end(path: Path, rng: Rng, case: int) -> list[Input]:
    """A JPEG without its end marker, or a PNG without its IEND chunk."""
    form, suffix, lost = _NO_END[case]
    wanted = noted("the end marker is missing, no pixel is")
    return [_write(path, suffix, _encoded(draw_picture(rng), form)[:-lost], wanted)]


def write_more_bytes(path: Path, rng: Rng, case: int) -> list[Input]:
    """Bytes after the end of the photo, as phones append them."""
    form, suffix = _MORE_BYTES[case]
    content = _encoded(draw_picture(rng), form) + rng.bytes(int(rng.integers(1, 5000)))
    return [_write(path, suffix, content, TAKEN)]


def write_unknown_chunk(path: Path, rng: Rng, case: int) -> list[Input]:
    """A PNG with a chunk of a program's own."""
    content = _encoded(draw_picture(rng), "PNG")
    body = b"prVt" + rng.bytes(40)
    chunk = struct.pack(">I", 40) + body + struct.pack(">I", zlib.crc32(body))
    return [_write(path, ".png", content[:33] + chunk + content[33:], TAKEN)]


KINDS: dict[str, FileKind] = {
    "long text": FileKind(write_long_text),
    "broken EXIF": FileKind(write_broken_exif),
    "broken profile": FileKind(write_broken_profile),
    "profile": FileKind(write_profile, len(_WITH_PROFILE)),
    "wrong checksum": FileKind(write_wrong_checksum),
    "no end marker": FileKind(write_no_end, len(_NO_END)),
    "more bytes": FileKind(write_more_bytes, len(_MORE_BYTES)),
    "unknown chunk": FileKind(write_unknown_chunk),
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
