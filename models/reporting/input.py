"""What the report page is made of: the metrics of a run, its figures and its pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.reporting.metrics import Metrics

Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.bool_]
AlphaStyle = Literal["checker", "outline", "hidden"]


@dataclass(frozen=True)
class Thumb:
    """One picture with its words. It may be of any size: it is scaled down when drawn.

    ``pixels``: HxWx3 RGB; HxWx4 RGB and alpha; HxW bool, or uint8 of 0 and 255 only: a mask; any
    other HxW uint8 or uint16: a depth map (larger is nearer), shown in colours. ``alpha_style``:
    the cut-out on a checkerboard, the whole picture with the object outlined, or without alpha.
    ``reject_reason`` says why no dataset holds the picture; empty where it was accepted.
    ``scale``: how large it is drawn, compared with other pictures.
    """

    pixels: Picture
    caption: str = ""
    title: str = ""
    alpha_style: AlphaStyle = "checker"
    reject_reason: str = ""
    scale: float = 1.0


@dataclass(frozen=True)
class Figure:
    """A figure under its file name without ending. ``description`` says in words what it shows.

    The page shows figures ``on_page``; it has the content of the others as tables.
    """

    name: str
    title: str
    description: str
    svg: bytes
    on_page: bool = False


@dataclass(frozen=True)
class Gap:
    """A cell without a picture. The reason is empty where an earlier stage made nothing either."""

    reason: str = ""


@dataclass(frozen=True)
class SheetRow:
    """What one stage made of a reference photo: some pictures of ``total``, and words.

    With ``columns`` the cells fill lines of that many columns; without, pictures stand side by
    side. ``words`` are pairs of a name and a text.
    """

    stage: str
    explanation: str
    cells: tuple[Thumb | Gap, ...]
    total: int
    columns: tuple[str, ...] = ()
    words: tuple[tuple[str, str], ...] = ()

    @property
    def thumbs(self) -> tuple[Thumb, ...]:
        """The pictures, without the gaps."""
        return tuple(cell for cell in self.cells if isinstance(cell, Thumb))


@dataclass(frozen=True)
class Sheet:
    """The contact sheet of one reference photo: a row per stage, in the order of the stages."""

    reference: str
    label: str
    rows: tuple[SheetRow, ...]


@dataclass(frozen=True)
class RejectGroup:
    """``count`` images rejected for one reason, some of them shown."""

    reason: str
    count: int
    thumbs: tuple[Thumb, ...] = ()


@dataclass(frozen=True)
class ReportInput:
    """Everything on the page.

    ``dataset_samples`` holds train images per dataset. ``misclassified`` are test photos that the
    networks predicted wrongly, as their captions say.
    ``segmented`` has a row per test photo: the photo, its true class map, and that of the first
    seed of each training. ``detected`` has a row per test photo: its real objects, and what the
    first seed of each training found. ``near_pairs`` hold a generated image and the photo nearest
    to it.
    """

    title: str
    metrics: Metrics
    figures: tuple[Figure, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    rejects: tuple[RejectGroup, ...] = ()
    dataset_samples: Mapping[str, tuple[Thumb, ...]] = field(default_factory=dict)
    test_samples: tuple[Thumb, ...] = ()
    misclassified: tuple[Thumb, ...] = ()
    segmented: tuple[tuple[Thumb, ...], ...] = ()
    detected: tuple[tuple[Thumb, ...], ...] = ()
    near_pairs: tuple[tuple[Thumb, Thumb], ...] = ()
