"""Classical upscaling: Lanczos resampling with a gentle sharpening of luminance edges."""

import cv2
import numpy as np

from models.data.pixels import Pixels


def upscale_lanczos(image: Pixels, factor: int, sharpen: float = 0.3) -> Pixels:
    """The image, ``factor`` times as wide and high.

    Args:
        image: HxWx3 RGB or HxWx4 RGB + matte, uint8. The matte is resampled but never sharpened.
        factor: whole scale factor, 1 or more. sharpen: weight of the unsharp mask whose radius is
        the width of one source pixel; 0 is none.
    """
    height, width = image.shape[:2]
    large = cv2.resize(
        image, (width * factor, height * factor), interpolation=cv2.INTER_LANCZOS4
    ).astype(np.uint8)
    if sharpen > 0 and factor > 1:
        soft = cv2.GaussianBlur(large[..., :3], (0, 0), factor / 2)
        large[..., :3] = cv2.addWeighted(large[..., :3], 1 + sharpen, soft, -sharpen, 0)
    return large
