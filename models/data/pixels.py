"""Pixels to bytes and back: lossless PNG between stages, JPEG for what people and trainers read."""

from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from models.data.png import Image, write_png

Pixels = npt.NDArray[np.uint8]
Alpha = npt.NDArray[np.float32]  # HxW, 0..1
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]
Number = TypeVar("Number", bound=np.integer[Any] | np.floating[Any])


def encode_png(image: Image) -> bytes:
    """Lossless PNG bytes of HxW (uint8 or uint16), HxWx3 RGB or HxWx4 RGB + straight matte (uint8).

    Raises:
        ValueError: the array is no such image.
    """
    _require_writable(image)
    return write_png(image)


def encode_jpeg(pixels: Pixels, quality: int = 95) -> bytes:
    """JPEG bytes (4:4:4, so that edges keep their colour) of an RGB or grey uint8 image."""
    _require_writable(pixels)
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling]
    done, blob = cv2.imencode(".jpg", _swap_red_and_blue(pixels), flags)
    if not done:
        raise ValueError(
            f"OpenCV could not write an image of shape {pixels.shape} as JPEG; make it smaller"
        )
    return blob.tobytes()


def decode(blob: bytes) -> Any:
    """The image that `encode_png` or `encode_jpeg` wrote, with its channels in RGB order.

    Raises:
        ValueError: the bytes are no image that OpenCV can read.
    """
    image = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("the bytes are no PNG or JPEG image; make the artifact again")
    return _swap_red_and_blue(image)


def rgb(image: Pixels) -> Pixels:
    """The three colour channels of an RGB or RGB + matte image, in one piece of memory.

    OpenCV would copy a view of them in each call, which takes ten times as long.
    """
    return image if image.shape[-1] == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2RGB))


def matte(rgba: Pixels) -> npt.NDArray[np.float32]:
    """The matte of an RGB + matte image as float32 HxW in 0..1."""
    return cv2.extractChannel(rgba, 3).astype(np.float32) / 255.0


def carried_matte(image: Pixels) -> npt.NDArray[np.float32] | None:
    """The matte of an image that carries one as fourth channel, else None."""
    return matte(image) if image.shape[-1] == 4 else None


def with_matte(pixels: Pixels, alpha: npt.NDArray[np.float32]) -> Pixels:
    """RGB + matte: the colours of ``pixels``, and ``alpha`` (float HxW, 0..1) as fourth channel."""
    channel = np.rint(np.clip(alpha, 0.0, 1.0) * 255.0).astype(np.uint8)
    return add_alpha(pixels, channel)


def add_alpha(pixels: Pixels, alpha: Pixels) -> Pixels:
    """RGB + alpha: the colours of ``pixels``, and ``alpha`` (uint8 HxW) as fourth channel."""
    rgba = cv2.cvtColor(rgb(pixels), cv2.COLOR_RGB2RGBA)
    return np.asarray(cv2.insertChannel(alpha, rgba, 3), np.uint8)


def require_image(image: Pixels, name: str) -> None:
    """Raise ValueError, naming the argument, unless the image is uint8 HxWx3 or HxWx4."""
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
        raise ValueError(
            f"{name} is {image.dtype} {image.shape}; give uint8 HxWx3 RGB or HxWx4 RGBA"
        )


def fit_within(image: Pixels, longest_side: int) -> Pixels:
    """The image scaled down (never up) so that its longer side is ``longest_side`` px."""
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1.0:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def resize(
    image: npt.NDArray[Number],
    width: int,
    height: int,
    *,
    scale: float | None = None,
    enlarge: int = cv2.INTER_CUBIC,
) -> npt.NDArray[Number]:
    """Return the image at another size.

    It is averaged over areas if ``scale`` is below 1, else interpolated by ``enlarge``. The default
    of ``scale`` is that of the longer side.
    """
    if scale is None:
        scale = max(width, height) / max(image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else enlarge
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), image.dtype)


def round_to_uint8(values: Floats) -> Pixels:
    """Values in 0..255, rounded to the nearest integer; values outside are clipped."""
    rounded = np.rint(values)
    return np.asarray(np.clip(rounded, 0, 255, out=rounded), np.uint8)


def _require_writable(image: Image) -> None:
    channels = 1 if image.ndim == 2 else image.shape[-1]
    fits = image.ndim in (2, 3) and channels in (1, 3, 4) and 0 not in image.shape
    if not fits or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"an image of type {image.dtype} and shape {image.shape} can't be written; "
            "give uint8 or uint16, HxW, HxWx3 or HxWx4"
        )


def _swap_red_and_blue(image: Any) -> Any:
    if image.ndim == 2:
        return image
    code = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(image.shape[-1])
    return image if code is None else cv2.cvtColor(image, code)
