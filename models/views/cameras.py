"""Viewpoints of new views, and the rotation by which a relief is turned towards them."""

from dataclasses import dataclass

import numpy as np

from models.data.pixels import Matrix

# Largest turn of a relief to either side in degrees, of which more would show its missing sides.
MAX_TURN = 42.0


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


def relief_yaw(azimuth: float) -> float:
    """Return the yaw in degrees, -180..180, by which a relief is turned for a true azimuth.

    A relief has no sides, so it cannot turn by 90 degrees. Azimuths of the front half circle are
    compressed to +-`MAX_TURN` by their sine. Those of the back half circle are compressed around
    180 degrees, where the mirrored photo is seen. So 30 becomes 21, 90 becomes 42, 150 becomes 159.
    """
    wrapped = (azimuth + 180.0) % 360.0 - 180.0
    turn = MAX_TURN * float(np.sin(np.radians(wrapped)))
    if abs(wrapped) <= 90:
        return turn
    return float(np.copysign(180.0, wrapped) - turn)


def view_rotation(camera: Camera) -> Matrix:
    """Return the 3x3 rotation from the photo's axes (x right, y down, z to the camera)."""
    yaw = relief_yaw(camera.azimuth)
    # A back view turns the mirrored relief as a front view turns the relief.
    is_back = abs(yaw) > 90
    flip = np.diag([-1.0, 1.0, -1.0] if is_back else [1.0, 1.0, 1.0])
    turn = np.radians(yaw - np.copysign(180.0, yaw) if is_back else yaw)
    sine, cosine = np.sin(turn), np.cos(turn)
    spin = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    return np.asarray(_tilt(camera.elevation) @ spin @ flip)


def _tilt(degrees: float) -> Matrix:
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
