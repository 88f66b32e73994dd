"""Settings of augmentation, in a file without torch, so that recipes load fast."""

from pydantic import Field

from models.data.records import Record


class AugmentRanges(Record):
    """How far a copy may differ from its view; 0 switches a change off."""

    flip: float = Field(0.5, ge=0, le=1, description="Chance of a mirror image.")
    rotate: float = Field(12.0, ge=0, le=180, description="Rotation at most, degrees either way.")
    scale: float = Field(0.1, ge=0, le=0.5, description="Scaling at most, share either way.")
    shear: float = Field(6.0, ge=0, le=45, description="Horizontal shear at most, degrees.")
    perspective: float = Field(
        0.06, ge=0, le=0.3, description="Corners move at most, share of side."
    )
    brightness: float = Field(0.2, ge=0, le=0.9, description="Brightness, share either way.")
    contrast: float = Field(0.2, ge=0, le=0.9, description="Contrast, share either way.")
    saturation: float = Field(0.2, ge=0, le=0.9, description="Saturation, share either way.")
    hue: float = Field(0.02, ge=0, le=0.5, description="Hue shift at most, turns of the circle.")
    blur: float = Field(0.8, ge=0, le=5, description="Gaussian blur, sigma at most, px at 320 px.")
    noise: float = Field(
        2.0, ge=0, le=30, description="Gaussian noise, sigma at most, grey levels."
    )
