"""The colours of a photo as 8-bit sRGB, whatever mode, depth, profile and alpha its file has."""

import io
import math
from typing import Any

import numpy as np
from PIL import Image, ImageCms

_GREY = 127
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANAR = 258, 262, 284


class PhotoRejectedError(ValueError):
    """A file can't be used as a photo; the message is the reason in one line."""


def to_eight_bits(image: Image.Image, is_deep: bool, notes: list[str]) -> Image.Image:
    """The image in one of the modes L, RGB, RGBA, CMYK."""
    mode = image.mode
    tags: Any = getattr(image, "tag_v2", {})
    if max(tags.get(_TIFF_BITS, (8,))) > 8 and tags.get(_TIFF_PLANAR) == 2:
        raise PhotoRejectedError(
            "a planar 16-bit TIFF; save it with interleaved channels or 8 bits"
        )
    if mode == "F" or mode.startswith("I"):
        values = np.asarray(image)
        if tags.get(_TIFF_PHOTOMETRIC) == 0 and mode.startswith("I;16"):
            values = 65535 - values
        image, note = _scale_values(values)
        notes.append(note)
    elif is_deep:
        notes.append("16-bit scaled")  # Pillow keeps the high byte of 16-bit colour
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("1", "L"):
        return image.convert("L")
    if image.mode in ("P", "RGB", "RGBX", "YCbCr"):
        return image.convert("RGB")
    if image.mode == "CMYK":
        return image
    raise PhotoRejectedError(f"colour mode {mode} is not supported; save it as RGB")


def _scale_values(values: np.ndarray[Any, Any]) -> tuple[Image.Image, str]:
    """Integers of 16 bits or floats in 0..1 as an 8-bit grey image, never clipped."""
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low + high):
        raise PhotoRejectedError("the pixels hold NaN or infinity; save it with 8 or 16 bits")
    if values.dtype.kind == "f" and low >= 0.0 and high <= 1.0:
        return Image.fromarray(np.rint(values * 255.0).astype(np.uint8)), "float values scaled"
    if values.dtype.kind == "f" or low < 0 or high > 65535:
        raise PhotoRejectedError(
            f"pixel values from {low:g} to {high:g} have no known range; save it with 8 or 16 bits"
        )
    # Scanners and cameras put 8 or 12 bits into the low end of 16; scaled by 65535 such a photo
    # would be black, and no usable photo keeps below a sixteenth of its range.
    bits = 8 if high <= 255 else 12 if high <= 4095 else 16
    scaled = np.rint(values.astype(np.float32) * (255.0 / (2**bits - 1)))
    return Image.fromarray(scaled.astype(np.uint8)), f"{bits}-bit scaled"


def to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """RGB or RGBA, through the embedded ICC profile if it fits."""
    plain = "RGBA" if image.mode == "RGBA" else "RGB"
    if image.mode == "CMYK":
        notes.append("CMYK converted")
    elif image.mode == "L":
        notes.append("greyscale copied to three channels")
    if not profile:
        return image.convert(plain)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if image.mode == "L" and space == "RGB":
            image = image.convert("RGB")
        to_srgb = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, plain)
        if image.mode == plain and _changes_nothing(to_srgb, plain):
            return image
        converted = ImageCms.applyTransform(image, to_srgb)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        notes.append("ICC profile ignored, it does not fit the pixels")
        return image.convert(plain)
    notes.append("ICC profile converted to sRGB")
    return converted if converted is not None else image


def _changes_nothing(to_srgb: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether the profile is sRGB under any name: no probe colour moves by more than 2."""
    levels = np.array([0, 32, 64, 128, 192, 255], np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(colours).convert(mode)
    moved = ImageCms.applyTransform(probe, to_srgb)
    difference = np.asarray(moved, np.int16)[..., :3] - colours.astype(np.int16)
    return bool(np.abs(difference).max() <= 2)


def flatten(image: Image.Image, notes: list[str]) -> Image.Image:
    """RGB: transparency blended over mid grey, because the colour under it is often arbitrary."""
    if image.mode == "RGB":
        return image
    alpha = image.getchannel("A")
    least, most = alpha.getextrema()
    if most == 0:
        raise PhotoRejectedError("every pixel is transparent")
    if least == 255:
        return image.convert("RGB")
    flat = Image.new("RGB", image.size, (_GREY, _GREY, _GREY))
    flat.paste(image.convert("RGB"), mask=alpha)
    notes.append(f"alpha flattened on grey {_GREY}")
    return flat
