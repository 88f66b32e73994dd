"""A metric for hard seams, for tests."""

import cv2
import numpy as np

from models.data.pixels import Pixels


def seam_contrast(pixels: Pixels, dx: int, dy: int) -> float:
    """How strongly the border of a shifted scene shows as a hard edge.

    It is the mean step in grey across its seams, divided by the mean step between the px around
    them. About 1 where nothing shows, 0 without a seam.

    Args:
        pixels: uint8 HxWx3 or more, the shifted scene.
        dx, dy: its offset in px.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
    values = grey.astype(np.float32)
    ratios = []
    for image, offset in ((values, dx), (values.T, dy)):
        seam = offset if offset > 0 else image.shape[1] + offset
        if offset == 0 or not 6 <= seam <= image.shape[1] - 6:
            continue
        steps = np.abs(np.diff(image[:, seam - 6 : seam + 6], axis=1)).mean(0)
        ratios.append(float(steps[5] / (np.delete(steps, 5).mean() + 0.25)))
    return max(ratios, default=0.0)
