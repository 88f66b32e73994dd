"""The colours of a photo as 8-bit sRGB, whatever mode and profile its file has."""

import io

import numpy as np
from PIL import Image, ImageCms


class PhotoRejectedError(ValueError):
    """A file can't be used as a photo; the message is the reason in one line."""


def to_plain_mode(image: Image.Image) -> Image.Image:
    """An image of 8 bits in one of the modes L, LA, RGB, RGBA, CMYK.

    Raises:
        PhotoRejectedError: its mode is another one that can't be converted without guessing.
    """
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "LA":
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("1", "L"):
        return image.convert("L")
    if image.mode in ("P", "RGB", "RGBX", "YCbCr"):
        return image.convert("RGB")
    if image.mode == "CMYK":
        return image
    raise PhotoRejectedError(f"colour mode {image.mode} is not supported; save it as RGB")


def to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """An image of mode L, RGB or CMYK as RGB, through the embedded ICC profile if it fits."""
    if image.mode == "CMYK":
        notes.append("CMYK converted")
    elif image.mode == "L":
        notes.append("greyscale copied to three channels")
    if not profile:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if image.mode == "L" and space == "RGB":
            image = image.convert("RGB")
        to_srgb = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, "RGB")
        if image.mode == "RGB" and _changes_nothing(to_srgb):
            return image
        converted = ImageCms.applyTransform(image, to_srgb)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        notes.append("ICC profile ignored, it does not fit the pixels")
        return image.convert("RGB")
    notes.append("ICC profile converted to sRGB")
    return converted if converted is not None else image


def _changes_nothing(to_srgb: ImageCms.ImageCmsTransform) -> bool:
    """Whether the profile is sRGB under any name: no probe colour moves by more than 2."""
    levels = np.array([0, 32, 64, 128, 192, 255], np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    moved = ImageCms.applyTransform(Image.fromarray(colours), to_srgb)
    difference = np.asarray(moved, np.int16) - colours.astype(np.int16)
    return bool(np.abs(difference).max() <= 2)
