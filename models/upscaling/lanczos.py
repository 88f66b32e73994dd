"""Classical upscaling: Lanczos resampling and a mild unsharp mask."""

import cv2
import numpy as np

from models.data.pixels import Pixels, add_alpha, rgb


def upscale_lanczos(image: Pixels, factor: int, sharpen: float = 0.3) -> Pixels:
    """Enlarge an image to ``factor`` times its width and height.

    Args:
        image: uint8 HxWx3 RGB or HxWx4 RGBA. Alpha is resampled but not sharpened.
        factor: whole scale factor, 1 or more.
        sharpen: weight of the unsharp mask, whose sigma is half a source pixel; 0 for none.
    """
    height, width = image.shape[:2]
    enlarged = cv2.resize(
        image, (width * factor, height * factor), interpolation=cv2.INTER_LANCZOS4
    ).astype(np.uint8)
    if sharpen > 0 and factor > 1:
        colours = rgb(enlarged)
        blurred = cv2.GaussianBlur(colours, (0, 0), factor / 2)
        sharp = np.asarray(cv2.addWeighted(colours, 1 + sharpen, blurred, -sharpen, 0), np.uint8)
        return sharp if image.shape[2] == 3 else add_alpha(sharp, enlarged[..., 3])
    return enlarged
