"""Files that can't be used as photos, and the reason that is true of each."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.kinds import (
    TAKEN,
    FileKind,
    Input,
    Wanted,
    draw_picture,
    refused,
)

Rng = np.random.Generator
_FORMS = (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif"))
_ARCHIVES = (b"PK\x03\x04\x14\0\0\0", b"%PDF-1.7\n%\xe2\xe3\0", b"\0\0\0\x18ftypmp42\0\0\0\0")
_TEXTS = ("<!doctype html><title>404</title>", "<svg xmlns='http://www.w3.org/2000/svg'/>")
_HEIC = (".heic", ".jpg")
_RAW = (".cr2", ".nef", ".arw", ".dng")
_OTHER_TYPES = (".mp4", ".pdf", ".docx", ".psd", ".json", ".zip")
_PROMPTS: tuple[tuple[bytes, Wanted], ...] = (
    (b"a photo of a (red:1.3) thing", Wanted("prompt", "a photo of a")),
    ("ein Foto, größer".encode("utf-8-sig"), Wanted("prompt", "ein Foto, größer")),
    (b"very " * 200, refused("the prompt is longer than 500 characters")),
    ("größer".encode("latin-1"), refused("the prompt is no UTF-8 text")),
    (b" \n\t ", refused("the prompt is empty")),
)


def write_empty(path: Path, rng: Rng, case: int) -> list[Input]:
    """A file of 0 bytes."""
    return [_write(path, ".jpg", b"", refused("the file is empty"))]


def write_cut_short(path: Path, rng: Rng, case: int) -> list[Input]:
    """A download that broke off."""
    form, suffix = _FORMS[case]
    content = _encoded(rng, form)
    end = int(len(content) * rng.uniform(0.4, 0.8))
    return [_write(path, suffix, content[:end], refused("the file is (corrupt or )?cut short"))]


def write_changed_bytes(path: Path, rng: Rng, case: int) -> list[Input]:
    """A PNG with a wrong byte among its pixels, as a bad disk gives it: its checksum differs."""
    content = bytearray(_encoded(rng, "PNG"))
    start = content.index(b"IDAT") + 4
    content[start + int(rng.integers(10, len(content) - start - 30))] ^= 0x55
    return [_write(path, ".png", bytes(content), refused("wrong checksum of chunk IDAT"))]


def write_random_bytes(path: Path, rng: Rng, case: int) -> list[Input]:
    """Bytes that are no file of any type."""
    content = b"\0" + rng.bytes(int(rng.integers(50, 3000)))
    return [_write(path, ".jpg", content, refused("no image of a known type"))]


def write_archive(path: Path, rng: Rng, case: int) -> list[Input]:
    """The content of a ZIP or PDF file, or of a video, under the suffix of a photo."""
    content = _ARCHIVES[case] + rng.bytes(500)
    return [_write(path, ".png", content, refused("no image of a known type"))]


def write_text(path: Path, rng: Rng, case: int) -> list[Input]:
    """A page that a server sent instead of the photo, or a drawing as text."""
    text = _TEXTS[case] + " " * int(rng.integers(200))
    return [_write(path, ".jpg", text.encode(), refused("the content is text"))]


def write_heic(path: Path, rng: Rng, case: int) -> list[Input]:
    """A phone's HEIC file that is damaged, also under the suffix of a JPEG."""
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + rng.bytes(300)
    return [_write(path, _HEIC[case], content, refused("no image of a known type"))]


def write_raw(path: Path, rng: Rng, case: int) -> list[Input]:
    """A camera's raw file."""
    return [_write(path, _RAW[case], rng.bytes(300), refused("a camera's raw file"))]


def write_other_type(path: Path, rng: Rng, case: int) -> list[Input]:
    """A file of another type in a class folder."""
    return [_write(path, _OTHER_TYPES[case], rng.bytes(300), refused("not an image type"))]


def write_small(path: Path, rng: Rng, case: int) -> list[Input]:
    """A thumbnail."""
    size = (int(rng.integers(8, 31)), int(rng.integers(8, 31)))
    return [_save(path, ".png", draw_picture(rng).resize(size), refused("too small"))]


def write_strip(path: Path, rng: Rng, case: int) -> list[Input]:
    """A strip of 20 times its height or more."""
    size = (int(rng.integers(700, 900)), 34)
    return [_save(path, ".png", draw_picture(rng).resize(size), refused("narrower than 20:1"))]


def write_huge_header(path: Path, rng: Rng, case: int) -> list[Input]:
    """A small PNG whose header announces billions of pixels."""
    side = int(rng.integers(30_000, 60_000))
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(3000))),
        (b"IEND", b""),
    ):
        content += struct.pack(">I", len(body)) + name + body
        content += struct.pack(">I", zlib.crc32(name + body))
    return [_write(path, ".png", content, refused("the header announces more than"))]


def write_not_finite(path: Path, rng: Rng, case: int) -> list[Input]:
    """Floats of which one is not a number."""
    values = rng.uniform(0, 1, (72, 96)).astype(np.float32)
    values[10, 10] = np.nan
    return [_save(path, ".tif", Image.fromarray(values), refused("NaN"))]


def write_unknown_range(path: Path, rng: Rng, case: int) -> list[Input]:
    """Floats of no known range."""
    scale = np.float32(rng.uniform(1000, 9000))
    values = rng.uniform(0, 1, (72, 96)).astype(np.float32) * scale - np.float32(400)
    return [_save(path, ".tif", Image.fromarray(values), refused("no known range"))]


def write_lab(path: Path, rng: Rng, case: int) -> list[Input]:
    """A colour mode that is not read."""
    image = draw_picture(rng).convert("LAB")
    image.info.clear()  # a profile with the time of creation
    return [_save(path, ".tif", image, refused("colour mode LAB"))]


def write_broken_link(path: Path, rng: Rng, case: int) -> list[Input]:
    """A link to a file that is gone."""
    file = path.with_name(path.name + ".jpg")
    file.symlink_to("nowhere.jpg")
    return [Input(file, refused("broken link"))]


def write_pipe(path: Path, rng: Rng, case: int) -> list[Input]:
    """A pipe with the name of a photo: reading it would wait forever."""
    file = path.with_name(path.name + ".jpg")
    os.mkfifo(file)
    return [Input(file, refused("not a regular file"))]


def write_copies(path: Path, rng: Rng, case: int) -> list[Input]:
    """The same bytes under two names: the first by name is kept."""
    first = _save(path, ".png", draw_picture(rng), TAKEN)
    content = first.file.read_bytes()
    return [
        first,
        _write(path.with_name(f"{path.name}_copy"), ".png", content, refused("the same file as")),
    ]


def write_in_two_classes(path: Path, rng: Rng, case: int) -> list[Input]:
    """The same bytes in two classes: no one knows which is right."""
    wanted = refused("its class is unknown")
    first = _save(path, ".png", draw_picture(rng), wanted)
    others = [folder for folder in path.parent.parent.iterdir() if folder != path.parent]
    other = sorted(others)[0] / f"{path.name} also"
    return [first, _write(other, ".png", first.file.read_bytes(), wanted)]


def write_prompt(path: Path, rng: Rng, case: int) -> list[Input]:
    """A text file next to a photo: its prompt, or a reason why it can't be."""
    content, wanted = _PROMPTS[case]
    photo = _save(path, ".png", draw_picture(rng), TAKEN)
    return [photo, _write(path, ".txt", content, wanted)]


def write_yolo_rows(path: Path, rng: Rng, case: int) -> list[Input]:
    """Boxes of a detection set next to a photo: never a prompt."""
    rows = "".join(
        f"{int(rng.integers(3))} {' '.join(f'{v:.3f}' for v in rng.uniform(0.2, 0.5, 4))}\n"
        for _ in range(int(rng.integers(1, 4)))
    )
    photo = _save(path, ".png", draw_picture(rng), TAKEN)
    return [photo, _write(path, ".txt", rows.encode(), refused("rows of numbers"))]


KINDS: dict[str, FileKind] = {
    "empty": FileKind(write_empty),
    "cut short": FileKind(write_cut_short, len(_FORMS)),
    "changed bytes": FileKind(write_changed_bytes),
    "random bytes": FileKind(write_random_bytes),
    "archive": FileKind(write_archive, len(_ARCHIVES)),
    "text": FileKind(write_text, len(_TEXTS)),
    "HEIC": FileKind(write_heic, len(_HEIC)),
    "raw": FileKind(write_raw, len(_RAW)),
    "another type": FileKind(write_other_type, len(_OTHER_TYPES)),
    "small": FileKind(write_small),
    "strip": FileKind(write_strip),
    "huge header": FileKind(write_huge_header),
    "not finite": FileKind(write_not_finite),
    "unknown range": FileKind(write_unknown_range),
    "Lab colours": FileKind(write_lab),
    "broken link": FileKind(write_broken_link),
    "pipe": FileKind(write_pipe),
    "copies": FileKind(write_copies),
    "two classes": FileKind(write_in_two_classes),
    "prompt": FileKind(write_prompt, len(_PROMPTS)),
    "YOLO rows": FileKind(write_yolo_rows),
}


def _encoded(rng: Rng, form: str) -> bytes:
    stream = io.BytesIO()
    draw_picture(rng).save(stream, form)
    return stream.getvalue()


def _save(path: Path, suffix: str, image: Image.Image, wanted: Wanted) -> Input:
    file = path.with_name(path.name + suffix)
    image.save(file)
    return Input(file, wanted)


def _write(path: Path, suffix: str, content: bytes, wanted: Wanted) -> Input:
    file = path.with_name(path.name + suffix)
    file.write_bytes(content)
    return Input(file, wanted)
