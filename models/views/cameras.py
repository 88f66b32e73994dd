"""Where a relief is seen from: cameras, and how far a relief may honestly turn towards them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A viewpoint in degrees relative to the photo's: azimuth to the right, elevation upwards."""

    azimuth: float
    elevation: float


# The six views of Zero123++ v1.2 (Shi et al., arXiv 2310.15110, section 2; elevations of v1.2).
ZERO123_VIEWS: tuple[Camera, ...] = tuple(
    Camera(azimuth, elevation)
    for azimuth, elevation in zip(range(30, 360, 60), (20, -10) * 3, strict=True)
)


@dataclass(frozen=True)
class ReliefStyle:
    """How boldly a relief is built and turned.

    `max_turn` is the largest yaw in degrees, 0..60; see `relief_yaw`. `depth` is the half depth
    against that of a sphere, 0.05..1; None takes it from the outline: full for a disc, a third for
    garments. `height` is how far in degrees above the object the photo is taken to be: the axis of
    the turn leans by as much. 15 suits solid things on a table and makes garments hang askew.
    `relighting` is how much of the shading follows the turned surface, 0..1.
    """

    max_turn: float = 42.0
    depth: float | None = None
    height: float = 0.0
    relighting: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.max_turn <= 60:
            raise ValueError(f"max_turn must be 0 to 60 degrees, not {self.max_turn}")
        if self.depth is not None and not 0.05 <= self.depth <= 1:
            raise ValueError(f"depth must be 0.05 to 1 or None, not {self.depth}")
        if not 0 <= self.height <= 45:
            raise ValueError(f"height must be 0 to 45 degrees, not {self.height}")
        if not 0 <= self.relighting <= 1:
            raise ValueError(f"relighting must be 0 to 1, not {self.relighting}")


def relief_yaw(azimuth: float, max_turn: float) -> float:
    """Return the yaw in degrees, -180..180, by which a relief is turned for a true azimuth.

    A relief cannot honestly turn by 90 degrees. Azimuths of the front half circle are compressed to
    +-max_turn by their sine, those of the back half circle likewise about 180 degrees, where the
    mirrored photo is seen: with 42 degrees, 30 becomes 21, 90 becomes 42 and 150 becomes 159.
    """
    wrapped = (azimuth + 180.0) % 360.0 - 180.0
    turn = max_turn * float(np.sin(np.radians(wrapped)))
    if abs(wrapped) <= 90:
        return turn
    return float(np.copysign(180.0, wrapped) - turn)


def view_rotation(camera: Camera, style: ReliefStyle) -> Matrix:
    """Return the 3x3 rotation from the photo's axes (x right, y down, z to the camera)."""
    yaw = relief_yaw(camera.azimuth, style.max_turn)
    # Back views turn the mirrored relief as front views turn the relief.
    back = abs(yaw) > 90
    flip = np.diag([-1.0, 1.0, -1.0] if back else [1.0, 1.0, 1.0])
    turn = np.radians(yaw - np.copysign(180.0, yaw) if back else yaw)
    sine, cosine = np.sin(turn), np.cos(turn)
    spin = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    return np.asarray(_tilt(style.height + camera.elevation) @ spin @ _tilt(-style.height) @ flip)


def _tilt(degrees: float) -> Matrix:
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
