"""What a report is made of: the numbers of `metrics.json` and pictures, ready to be drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.bool_]
MatteAs = Literal["checker", "outline", "hidden"]


@dataclass(frozen=True)
class Thumb:
    """One picture and what is said of it. It may be of any size: it is scaled down when drawn.

    ``pixels``: HxWx3 RGB; HxWx4 RGB + matte; HxW bool, or uint8 of 0 and 255 only: a mask; any
    other HxW uint8 or uint16: a depth map (larger is nearer), shown in colours. ``matte_as`` says
    how a matte is shown: the cut-out on a checkerboard, the whole picture with the object outlined,
    or not at all. ``left_out`` is why no dataset holds it, if that is so.
    """

    pixels: Picture
    caption: str = ""
    title: str = ""
    matte_as: MatteAs = "checker"
    left_out: str = ""


@dataclass(frozen=True)
class Gap:
    """A place without a picture, and why; no reason where an earlier step has none either."""

    reason: str = ""


@dataclass(frozen=True)
class SheetRow:
    """What one stage made of one reference photo: pictures of ``total`` images, and words.

    The pictures of an ``aligned`` row stand in the sheet's columns, one or more lines of them; any
    other row's stand side by side. ``words`` are pairs of what they are and what they say.
    """

    stage: str
    explanation: str
    thumbs: tuple[Thumb | Gap, ...]
    total: int
    aligned: bool = False
    words: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> tuple[Thumb, ...]:
        """The pictures, without the gaps."""
        return tuple(one for one in self.thumbs if isinstance(one, Thumb))


@dataclass(frozen=True)
class Sheet:
    """One reference photo's way through the stages, in their order; ``columns`` names what stands
    below each other in its aligned rows."""

    reference: str
    label: str
    rows: tuple[SheetRow, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class RejectGroup:
    """Images that were made and left out for one reason: ``thumbs`` are shown of ``count``."""

    reason: str
    count: int
    thumbs: tuple[Thumb, ...] = ()


@dataclass(frozen=True)
class ReportInput:
    """Everything on the page. ``metrics`` is what ``metrics.json`` holds; any part may be missing.

    ``dataset_samples`` holds train images per arm (real, synthetic, mixed, ...), in their order.
    ``misclassified`` are test photos that the trained networks got wrong, as their captions say.
    """

    title: str
    metrics: Mapping[str, Any]
    sheets: tuple[Sheet, ...] = ()
    rejects: tuple[RejectGroup, ...] = ()
    dataset_samples: Mapping[str, tuple[Thumb, ...]] = field(default_factory=dict)
    test_samples: tuple[Thumb, ...] = ()
    misclassified: tuple[Thumb, ...] = ()
