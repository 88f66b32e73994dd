"""Local features of a photo: points that are found again after it was cropped, turned or framed.

SIFT (Lowe 2004, https://doi.org/10.1023/B:VISI.0000029664.99615.94) with the square roots of
RootSIFT (Arandjelovic and Zisserman 2012, https://doi.org/10.1109/CVPR.2012.6248018).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Pixels

LONGEST_SIDE = 384
MOST_FEATURES = 300
# The length of a descriptor. Products of such whole numbers stay below 2^24, so that sums of
# float32 are exact, and no number of threads changes them.
LENGTH = 512
_SIZE = 128
# A quarter of OpenCV's default: smooth photos, such as renderings, have few strong features.
_LEAST_CONTRAST = 0.01

Table = npt.NDArray[np.uint8]

# A mirrored patch has the rows of cells in reverse order, and each angle negated.
_CELLS = np.arange(_SIZE).reshape(4, 4, 8)
_MIRRORED = _CELLS[::-1][:, :, -np.arange(8) % 8].reshape(-1)


@dataclass(frozen=True)
class LocalFeatures:
    """Points of a photo and what they look like.

    ``points``: float32 (n, 2), x and y in px of the photo scaled to 384 px. ``descriptors``: uint8
    (n, 128), of length 512. ``size``: width and height of the scaled photo.
    """

    points: npt.NDArray[np.float32]
    descriptors: Table
    size: tuple[int, int]

    def mirrored(self) -> "LocalFeatures":
        """The features of the mirror image, to within the rounding of pixels."""
        points = self.points.copy()
        points[:, 0] = self.size[0] - 1 - points[:, 0]
        return LocalFeatures(points, self.descriptors[:, _MIRRORED], self.size)


def find_local_features(photo: Pixels) -> LocalFeatures:
    """The 300 strongest features of a photo, uint8 HxWx3 RGB; a blank photo has none."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    scale = LONGEST_SIDE / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(grey, size, interpolation=method)
    search = cv2.SIFT.create(nfeatures=MOST_FEATURES, contrastThreshold=_LEAST_CONTRAST)
    points, found = search.detectAndCompute(scaled, None)
    if not points:
        return LocalFeatures(np.zeros((0, 2), np.float32), np.zeros((0, _SIZE), np.uint8), size)
    shares = found / np.maximum(found.sum(axis=1, keepdims=True), 1.0)
    descriptors = np.minimum(np.rint(np.sqrt(shares) * LENGTH), 255).astype(np.uint8)
    return LocalFeatures(np.array([p.pt for p in points], np.float32), descriptors, size)


def pack_features(features: LocalFeatures) -> Table:
    """The features as an image that a store can keep: uint8 (n + 1, 136).

    The first row holds the size, each other row the two numbers of a point and its descriptor.
    """
    table = np.zeros((len(features.points) + 1, 8 + _SIZE), np.uint8)
    table[0, :8] = np.array(features.size, "<i4").view(np.uint8)
    table[1:, :8] = features.points.astype("<f4").view(np.uint8)
    table[1:, 8:] = features.descriptors
    return table


def unpack_features(table: Table) -> LocalFeatures:
    """The features that `pack_features` was called with."""
    width, height = np.ascontiguousarray(table[0, :8]).view("<i4").tolist()
    points = np.ascontiguousarray(table[1:, :8]).view("<f4")
    return LocalFeatures(points, table[1:, 8:], (width, height))
