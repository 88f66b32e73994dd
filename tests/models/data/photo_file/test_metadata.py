"""Metadata decides nothing where pixels are sound; viewers and the product see the same photo."""

import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file.png_chunks import clean_png
from models.data.read_photo import read_photo
from tests.models.data.photo_file.files import draw_scene, insert_chunk, save, save_tiff

SCENE = draw_scene()
PNG = save(Image.fromarray(SCENE), "PNG")
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP", b"pHYs", b"tIME", b"tRNS", b"eXIf", b"abCd"])
def test_a_damaged_ancillary_chunk_is_named_and_ignored(name: bytes) -> None:
    read = read_photo(insert_chunk(PNG, name, b"damaged bytes", is_sound=False))
    np.testing.assert_array_equal(read.pixels, SCENE)
    assert read.notes == (f"the damaged chunk {name.decode()} is ignored",)


def test_long_text_is_ignored() -> None:
    info = PngImagePlugin.PngInfo()
    for number in range(40):
        info.add_itxt(f"key{number}", "y" * 2_000_000, zip=True)
    read = read_photo(save(Image.fromarray(SCENE), "PNG", pnginfo=info))
    np.testing.assert_array_equal(read.pixels, SCENE)
    assert read.notes == ()


def test_a_profile_that_decompresses_without_end_is_ignored() -> None:
    bomb = b"name\0\0" + zlib.compress(bytes(40_000_000))
    read = read_photo(insert_chunk(PNG, b"iCCP", bomb))
    assert read.notes == ("the ICC profile can't be decompressed; it is ignored",)


def test_a_gamma_that_is_not_applied_is_named() -> None:
    read = read_photo(insert_chunk(PNG, b"gAMA", (100_000).to_bytes(4, "big")))
    assert read.notes == ("the gamma 1 of the file is not applied",)
    assert read_photo(insert_chunk(PNG, b"gAMA", (45_455).to_bytes(4, "big"))).notes == ()


@pytest.mark.parametrize("lost", [4, 8, 12])
def test_a_png_without_its_end_is_read(lost: int) -> None:
    read = read_photo(PNG[:-lost])
    np.testing.assert_array_equal(read.pixels, SCENE)
    assert read.notes == (() if lost == 4 else ("the end marker is missing, no pixel is",))


def test_a_png_with_a_wrong_byte_among_its_pixels_is_refused() -> None:
    """Of some wrong bytes only the checksum tells: they decompress without an error."""
    start, end = PNG.index(b"IDAT") + 4, PNG.index(b"IEND") - 4
    for place in range(start, end, 7):
        damaged = PNG[:place] + bytes([PNG[place] ^ 0x55]) + PNG[place + 1 :]
        with pytest.raises(PhotoRejectedError, match="wrong checksum of chunk IDAT"):
            read_photo(damaged)


def test_exif_after_the_pixels_of_a_png_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = insert_chunk(PNG, b"eXIf", body)[33 : 33 + 12 + len(body)]
    read = read_photo(PNG[:-12] + chunk + PNG[-12:])
    np.testing.assert_array_equal(read.pixels, np.rot90(SCENE, 3))


def test_bytes_after_the_end_of_a_png_are_ignored() -> None:
    assert clean_png(PNG + b"\0" * 100).blob == PNG


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_without_its_end_marker_is_read(options: dict[str, Any], lost: int) -> None:
    blob = save(Image.fromarray(SCENE), "JPEG", **options)
    read = read_photo(blob[:-lost])
    np.testing.assert_array_equal(read.pixels, read_photo(blob).pixels)
    assert read.notes == ("the end marker is missing, no pixel is",)


def test_a_thumbnail_has_an_end_marker_of_its_own() -> None:
    thumbnail = save(Image.fromarray(SCENE).resize((24, 16)), "JPEG")
    exif = Image.Exif()
    exif[0x010E] = thumbnail
    blob = save(Image.fromarray(SCENE), "JPEG", exif=exif)
    assert thumbnail in blob
    assert read_photo(blob).notes == ()
    assert read_photo(blob[:-2]).notes == ("the end marker is missing, no pixel is",)


@pytest.mark.parametrize("is_progressive", [False, True])
def test_a_jpeg_that_lacks_its_last_bytes_is_refused_or_whole(is_progressive: bool) -> None:
    """Zeros, which a decoder puts in place of missing bits, must not pass for the pixels."""
    n_refused = 0
    for seed in range(12):
        blob = save(Image.fromarray(draw_scene(seed)), "JPEG", progressive=is_progressive)
        whole = read_photo(blob).pixels
        for lost in (3, 4, 5, 6):
            try:
                read = read_photo(blob[:-lost])
            except PhotoRejectedError:
                n_refused += 1
            else:
                np.testing.assert_array_equal(read.pixels, whole)
    assert n_refused > 24


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_that_lacks_pixels_is_refused(options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    blob = save(Image.fromarray(noise), "JPEG", **options)
    for share in (0.5, 0.8, 0.9, 0.97, 0.99):
        with pytest.raises(PhotoRejectedError):
            read_photo(blob[: int(len(blob) * share)])


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_bytes_after_the_pixels_of_other_formats_decide_nothing(kind: str) -> None:
    image = Image.fromarray(SCENE)
    blob = save(image, kind)
    np.testing.assert_array_equal(read_photo(blob + b"appended").pixels, read_photo(blob).pixels)


def test_a_gif_without_its_trailer_is_read() -> None:
    blob = save(Image.fromarray(SCENE), "GIF")
    np.testing.assert_array_equal(read_photo(blob[:-1]).pixels, read_photo(blob).pixels)


def test_a_webp_whose_exif_is_cut_short_is_read() -> None:
    exif = Image.Exif()
    exif[0x010E] = "words " * 50
    blob = save(Image.fromarray(SCENE), "WEBP", lossless=True, exif=exif)
    np.testing.assert_array_equal(read_photo(blob[:-40]).pixels, SCENE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_in_xmp_turns_nothing(kind: str) -> None:
    image = Image.fromarray(SCENE)
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        blob = save(image, kind, pnginfo=info)
    elif kind == "TIFF":
        blob = save(image, kind, tiffinfo={700: XMP})
    else:
        blob = save(image, kind, xmp=XMP)
    read = read_photo(blob)
    assert read.pixels.shape == (64, 96, 3)
    assert read.notes == ()


def test_an_avif_is_turned_as_viewers_turn_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    read = read_photo(save(Image.fromarray(SCENE), "AVIF", exif=exif, quality=95))
    assert read.pixels.shape == (96, 64, 3)
    assert np.abs(read.pixels.astype(int) - np.rot90(SCENE, 3)).mean() < 6


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_tiffs_of_all_depths_are_turned_once(
    orientation: int, dtype: type, bands: int, planes: str
) -> None:
    if bands == 1 and planes == "separate":
        pytest.skip("one plane is not separate")
    values = np.dstack([SCENE, SCENE])[..., :bands].astype(dtype) * (
        257 if dtype is np.uint16 else 1
    )
    stored = np.moveaxis(values, 2, 0) if planes == "separate" else values.squeeze()
    blob = save_tiff(
        np.ascontiguousarray(stored),
        photometric="rgb" if bands > 1 else "minisblack",
        planarconfig=planes if bands > 1 else None,
        extratags=[(274, "H", 1, orientation, True)],
    )
    upright = {
        2: SCENE[:, ::-1],
        3: SCENE[::-1, ::-1],
        6: np.rot90(SCENE, 3),
        8: np.rot90(SCENE),
    }[orientation]
    expected = upright if bands > 1 else np.dstack([upright[..., 0]] * 3)
    np.testing.assert_array_equal(read_photo(blob).pixels, expected)


def test_an_exif_of_a_text_chunk_turns_nothing() -> None:
    info = PngImagePlugin.PngInfo()
    exif = Image.Exif()
    exif[0x0112] = 6
    packed = exif.tobytes().hex()
    info.add_text("Raw profile type exif", f"\nexif\n{len(packed) // 2}\n{packed}", zip=True)
    assert read_photo(save(Image.fromarray(SCENE), "PNG", pnginfo=info)).notes == ()
