"""Photos of every kind and kind of damage: converted with a note, or rejected with a reason."""

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from models.data.photo_colours import PhotoRejectedError
from models.data.read_photo import Photo, read_photo

DATA = Path(__file__).parents[4] / "shared" / "data"


def scene(width: int = 96, height: int = 64) -> npt.NDArray[np.uint8]:
    """A smooth picture with four different corners: red, green, blue, white from top left on."""
    corners = np.array([[[220, 30, 30], [30, 200, 30]], [[30, 30, 220], [240, 240, 240]]], np.uint8)
    return np.asarray(
        cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8
    )


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(image: Image.Image, kind: str = "PNG", **options: Any) -> Photo:
    return read_photo(save(image, kind, **options))


def assert_near(one: Any, other: Any, tolerance: float) -> None:
    difference = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
    assert one.shape == other.shape
    assert difference.max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000", "QOI"])
def test_lossless_rgb_comes_back_exactly_and_without_notes(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    read = photo(Image.fromarray(scene()), kind, **options)
    assert np.array_equal(read.pixels, scene())
    assert read.pixels.dtype == np.uint8
    assert read.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_lossy_rgb_comes_back_nearly(kind: str) -> None:
    assert_near(photo(Image.fromarray(scene()), kind, quality=95).pixels, scene(), 12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    # How a camera would have stored the upright scene under each orientation.
    upright = scene()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = photo(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
    assert_near(read.pixels, upright, 1 if kind in ("PNG", "TIFF") else 24)
    expected = () if orientation == 1 else (f"EXIF orientation {orientation} applied",)
    assert read.notes == expected


def test_damaged_exif_costs_the_orientation_only() -> None:
    blob = save(Image.fromarray(scene()), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\xff")
    assert read_photo(blob).pixels.shape == (64, 96, 3)


def test_alpha_is_the_mask_and_the_object_is_shown_on_grey() -> None:
    rgba = np.dstack([scene(), np.full((64, 96), 255, np.uint8)])
    rgba[:, :48, 3] = 0
    rgba[:, :48, :3] = (255, 0, 255)
    rgba[0, 95] = (255, 255, 255, 128)
    read = photo(Image.fromarray(rgba))
    assert (read.pixels[:, :48] == 127).all()
    assert np.array_equal(read.pixels[1:, 48:], scene()[1:, 48:])
    assert_near(read.pixels[0, 95], np.full(3, 191), 1)
    assert read.notes == ("alpha used as the object's mask, shown on grey 127",)
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, rgba[..., 3])


def test_opaque_alpha_is_dropped_without_a_note() -> None:
    read = photo(Image.fromarray(np.dstack([scene(), np.full((64, 96), 255, np.uint8)])))
    assert np.array_equal(read.pixels, scene())
    assert read.notes == ()


def test_wholly_transparent_is_rejected() -> None:
    with pytest.raises(PhotoRejectedError, match="every pixel is transparent"):
        photo(Image.new("RGBA", (64, 64), (200, 30, 30, 0)))


def test_grey_and_grey_with_alpha() -> None:
    grey = scene()[..., 0]
    read = photo(Image.fromarray(grey))
    assert np.array_equal(read.pixels, np.dstack([grey] * 3))
    assert read.notes == ("greyscale copied to three channels",)
    alpha = np.full_like(grey, 255)
    alpha[:10] = 0
    read = photo(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]))
    assert (read.pixels[:10] == 127).all()
    assert np.array_equal(read.pixels[10:, :, 1], grey[10:])


def test_one_bit_image() -> None:
    read = photo(Image.fromarray(scene()[..., 0]).convert("1"), "TIFF")
    assert set(np.unique(read.pixels)) == {0, 255}


def test_palette_with_and_without_transparency() -> None:
    palette = Image.fromarray(scene()).quantize(64)
    assert_near(photo(palette).pixels, np.asarray(palette.convert("RGB")), 0)
    seen = palette.getpixel((0, 0))
    read = photo(palette, transparency=seen)
    assert (read.pixels[0, 0] == 127).all()
    assert "alpha used as the object's mask, shown on grey 127" in read.notes


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".jp2"])
def test_sixteen_bit_grey_is_scaled_not_clipped(suffix: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    read = read_photo(cv2.imencode(suffix, values)[1].tobytes())
    assert_near(read.pixels[..., 0], np.rint(values / 257.0), 1)
    assert "16-bit scaled" in read.notes


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
def test_sixteen_bit_colour_is_scaled_not_clipped(suffix: str) -> None:
    deep = scene().astype(np.uint16) * 257
    read = read_photo(cv2.imencode(suffix, np.ascontiguousarray(deep[..., ::-1]))[1].tobytes())
    assert_near(read.pixels, scene(), 1)


def test_twelve_bits_in_sixteen_are_not_black() -> None:
    values = np.linspace(0, 4095, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    read = read_photo(cv2.imencode(".png", values)[1].tobytes())
    assert read.pixels.max() == 255
    assert "12-bit scaled" in read.notes


def test_sixteen_bit_white_is_zero_is_turned_round() -> None:
    stream = io.BytesIO()
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    tifffile.imwrite(stream, ramp, photometric="miniswhite")
    pixels = read_photo(stream.getvalue()).pixels
    assert pixels[0, 0, 0] == 255
    assert pixels[-1, -1, 0] == 0


def test_planar_sixteen_bit_tiff_is_read_though_pillow_reads_noise() -> None:
    stream = io.BytesIO()
    planes = np.moveaxis(scene().astype(np.uint16) * 257, 2, 0)
    tifffile.imwrite(stream, planes, photometric="rgb", planarconfig="separate")
    assert_near(read_photo(stream.getvalue()).pixels, scene(), 0)


def test_float_images() -> None:
    ramp = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    read = photo(Image.fromarray(ramp), "TIFF")
    assert (read.pixels.min(), read.pixels.max()) == (0, 255)
    for bad, reason in ((np.nan, "NaN"), (np.inf, "NaN"), (7.5, "no known range")):
        spoilt = ramp.copy()
        spoilt[3, 3] = bad
        with pytest.raises(PhotoRejectedError, match=reason):
            photo(Image.fromarray(spoilt), "TIFF")


def test_32_bit_integers_without_a_known_range_are_rejected() -> None:
    values = np.full((64, 64), 1_000_000, np.int32)
    with pytest.raises(PhotoRejectedError, match="no known range"):
        photo(Image.fromarray(values), "TIFF")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_light_light_and_red_red(kind: str) -> None:
    # Pillow writes Adobe's inverted CMYK into JPEG and plain CMYK into TIFF.
    read = photo(Image.fromarray(scene()).convert("CMYK"), kind)
    assert_near(read.pixels, scene(), 30)
    assert read.notes == ("CMYK converted",)


def test_lab_is_rejected_by_name() -> None:
    with pytest.raises(PhotoRejectedError, match="colour mode LAB"):
        photo(Image.new("LAB", (64, 64)), "TIFF")


def _linear_profile() -> bytes:
    """A matrix profile with sRGB's primaries and a gamma of 1, patched from Pillow's own sRGB."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(struct.unpack(">I", profile[128:132])[0]):
        entry = 132 + 12 * index
        tag, offset, _ = struct.unpack(">4sII", profile[entry : entry + 12])
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            # A curve without points is the identity.
            profile[offset : offset + 12] = b"curv" + bytes(8)
            profile[entry + 8 : entry + 12] = struct.pack(">I", 12)
    return bytes(profile)


def test_icc_profile_is_converted_to_srgb() -> None:
    read = photo(Image.new("RGB", (64, 64), (55, 55, 55)), icc_profile=_linear_profile())
    # Linear 55/255 is 0.2157, which sRGB encodes as 0.502: level 128.
    assert_near(read.pixels, np.full((64, 64, 3), 128), 2)
    assert read.notes == ("ICC profile converted to sRGB",)


def test_icc_profile_keeps_alpha() -> None:
    image = Image.new("RGBA", (64, 64), (55, 55, 55, 255))
    image.paste((9, 9, 9, 0), (0, 0, 32, 64))
    read = photo(image, icc_profile=_linear_profile())
    assert read.alpha is not None
    assert (read.alpha[:, :32] == 0).all()
    assert (read.alpha[:, 32:] == 255).all()
    assert (read.pixels[:, :32] == 255).all()
    assert_near(read.pixels[:, 32:], np.full((64, 32, 3), 128), 2)


def test_grey_with_a_colour_profile_is_converted_too() -> None:
    read = photo(Image.new("L", (64, 64), 55), icc_profile=_linear_profile())
    assert_near(read.pixels, np.full((64, 64, 3), 128), 2)
    assert read.notes[-1] == "ICC profile converted to sRGB"


def test_srgb_under_any_name_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    read = photo(Image.fromarray(scene()), icc_profile=profile)
    assert np.array_equal(read.pixels, scene())
    assert read.notes == ()


@pytest.mark.parametrize("profile", [b"no profile", _linear_profile()[:200]])
def test_broken_icc_profile_is_ignored_with_a_note(profile: bytes) -> None:
    read = photo(Image.fromarray(scene()), icc_profile=profile)
    assert np.array_equal(read.pixels, scene())
    assert read.notes == ("ICC profile ignored, it does not fit the pixels",)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    read = photo(frames[0], kind, save_all=True, append_images=frames[1:])
    assert_near(read.pixels, np.full((64, 64, 3), (255, 0, 0)), 6)
    assert read.notes == (("page 1 of 3",) if kind == "TIFF" else ("first frame of 3",))


def test_large_photo_is_scaled_down() -> None:
    read = read_photo(save(Image.fromarray(scene(900, 600)), "PNG"), max_side=300)
    assert_near(read.pixels, scene(300, 200), 4)
    assert read.notes == ("scaled down from 900x600",)


def test_huge_jpeg_is_decoded_small_and_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    blob = save(Image.fromarray(scene(4000, 3000)), "JPEG", exif=exif)
    read = read_photo(blob, max_side=256)
    assert read.pixels.shape == (256, 192, 3)
    assert_near(read.pixels, np.rot90(scene(256, 192), 3), 12)
    assert read.notes == ("scaled down from 4000x3000", "EXIF orientation 6 applied")


def _png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100)))


@pytest.mark.parametrize("side", [10_001, 13_000, 60_000])
def test_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(PhotoRejectedError, match="pixels"):
        read_photo(_png_header(side, side))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "PPM", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_cut_short_is_rejected_not_half_decoded(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    blob = save(Image.fromarray(noise), kind)
    with pytest.raises(PhotoRejectedError):
        read_photo(blob[: int(len(blob) * share)])


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "empty"),
        (b"<html>404 not found</html>", "text"),
        (bytes(range(256)) * 8, "no image of a known type"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n", "text"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "corrupt"),
    ],
)
def test_what_is_no_image_is_rejected_by_reason(blob: bytes, reason: str) -> None:
    with pytest.raises(PhotoRejectedError, match=reason):
        read_photo(blob)


@pytest.mark.parametrize(
    ("size", "reason"), [((1, 1), "too small"), ((31, 400), "too small"), ((641, 32), "20:1")]
)
def test_odd_sizes_are_rejected(size: tuple[int, int], reason: str) -> None:
    with pytest.raises(PhotoRejectedError, match=reason):
        photo(Image.new("RGB", size))


def test_smallest_and_narrowest_photo_are_taken() -> None:
    assert photo(Image.new("RGB", (640, 32))).pixels.shape == (32, 640, 3)


KINDS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "QOI"]
_SEEDS = [save(Image.fromarray(scene(40, 40)), kind) for kind in KINDS]
_SEEDS += [
    save(Image.fromarray(scene(40, 40)), "TIFF", compression="tiff_lzw"),
    save(Image.fromarray(scene(40, 40)), "PNG", icc_profile=_linear_profile(), exif=b"Exif\0\0MM"),
    save(Image.fromarray(scene(40, 40)), "JPEG", progressive=True, icc_profile=_linear_profile()),
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(range(len(_SEEDS))), st.integers(0, 2**32 - 1))
def test_mutated_files_are_read_or_rejected_in_one_line_and_always_alike(
    which: int, seed: int
) -> None:
    chance = random.Random(seed)
    blob = bytearray(_SEEDS[which])
    for _ in range(chance.randint(1, 8)):
        # Headers decide most, so half of the damage goes there.
        at = chance.randrange(min(len(blob), chance.choice([64, len(blob)])))
        if chance.random() < 0.2:
            del blob[at : at + chance.randint(1, 40)]
        else:
            blob[at] = chance.randrange(256)
        if not blob:
            break
    outcomes = []
    for _ in range(2):
        try:
            read = read_photo(bytes(blob), max_pixels=1_000_000)
            assert read.pixels.ndim == 3
            outcomes.append((read.pixels.tobytes(), read.notes))
        except PhotoRejectedError as reason:
            assert "\n" not in str(reason)
            outcomes.append((b"", (str(reason),)))
    assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_random_bytes_are_rejected(blob: bytes) -> None:
    with pytest.raises(PhotoRejectedError):
        read_photo(blob)


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_real_photos_need_no_notes_but_scaling() -> None:
    paths = sorted((DATA / "clothing" / "test" / "shoes").glob("*.jpg"))[:5]
    assert paths
    for path in paths:
        read = read_photo(path.read_bytes())
        assert max(read.pixels.shape) <= 2048
        assert all(note.startswith(("scaled down", "EXIF", "ICC")) for note in read.notes)
