"""Whether two photos show the same picture, one perhaps cropped, turned, mirrored or framed.

Features that are each other's nearest, and clearly nearer than the second (ratio 0.8, Lowe 2004),
must agree on one shift, turn and scale to within 4 px (RANSAC, Fischler and Bolles 1981).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.leakage.local_features import LENGTH, LocalFeatures

LEAST_AGREEING = 20
# Parts of a picture that another photo of the same place shares cover less.
LEAST_COVERAGE = 0.4
_RATIO = 0.8
_TOLERANCE_PX = 4.0

Points = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class PictureMatch:
    """What two photos share.

    ``agreeing``: features at distinct points that agree. ``coverage``: the area that they span as a
    share of the area that all features of the photo span, 0..1; that of the photo with more.
    """

    agreeing: int
    coverage: float

    @property
    def is_same_picture(self) -> bool:
        """Whether the photos show the same picture, and not only the same place."""
        return self.coverage >= LEAST_COVERAGE


def match_pictures(first: LocalFeatures, second: LocalFeatures) -> PictureMatch | None:
    """What two photos share, mirrored or not; None where fewer than 20 features agree.

    The result is the same on every call and for every number of threads.
    """
    found = [match_upright(side, second) for side in (first, first.mirrored())]
    return max(filter(None, found), key=lambda match: match.agreeing, default=None)


def match_upright(first: LocalFeatures, second: LocalFeatures) -> PictureMatch | None:
    """What two photos share without a mirror; None where fewer than 20 features agree."""
    here, there = _nearest_pairs(first.descriptors, second.descriptors)
    if len(here) < LEAST_AGREEING:
        return None
    left, right = first.points[here], second.points[there]
    # OpenCV starts this search with the same random numbers on each call.
    _, inliers = cv2.estimateAffinePartial2D(
        left, right, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE_PX
    )
    if inliers is None:
        return None
    agrees = inliers.ravel() > 0
    left, right = left[agrees], right[agrees]
    agreeing = min(_count_distinct(left), _count_distinct(right))
    if agreeing < LEAST_AGREEING:
        return None
    coverage = max(_area(left) / _area(first.points), _area(right) / _area(second.points))
    return PictureMatch(agreeing, round(coverage, 4))


def _nearest_pairs(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]
) -> tuple[Indices, Indices]:
    """The features that are each other's nearest and pass the ratio test in both directions."""
    nothing = np.zeros(0, np.intp)
    if min(len(first), len(second)) < LEAST_AGREEING:
        return nothing, nothing
    likeness = first.astype(np.float32) @ second.astype(np.float32).T
    nearest, is_clear = _clearly_nearest(likeness)
    if np.count_nonzero(is_clear) < LEAST_AGREEING:
        return nothing, nothing
    back, is_clear_back = _clearly_nearest(np.ascontiguousarray(likeness.T))
    is_mutual = is_clear & is_clear_back[nearest] & (back[nearest] == np.arange(len(nearest)))
    here = np.flatnonzero(is_mutual)
    return here, nearest[here]


def _clearly_nearest(
    likeness: npt.NDArray[np.float32],
) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Per row the column of the most alike, and whether the second is clearly farther."""
    rows = np.arange(len(likeness))
    nearest = likeness.argmax(axis=1)
    best = likeness[rows, nearest]
    others = likeness.copy()
    others[rows, nearest] = -1.0
    # For descriptors of one length the squared distance is twice length squared less likeness.
    distance, second = LENGTH**2 - best, LENGTH**2 - others.max(axis=1)
    return nearest, distance < _RATIO**2 * second


def _count_distinct(points: Points) -> int:
    return len(np.unique(np.rint(points), axis=0))


def _area(points: Points) -> float:
    """The area of the convex hull in square px, at least 1."""
    return max(1.0, cv2.contourArea(cv2.convexHull(points)))
