"""Colours, fonts and file formats that all figures of the report share.

Figures use the object interface of matplotlib. ``pyplot`` keeps state per process and is not safe
in threads.
"""

import io
import math
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Dashes = Literal["-", "--", "-.", ":"] | tuple[float, tuple[float, ...]]

# Colour and line style by position of the dataset. Each colour has a contrast of 3 or more to
# white and to black pages. Hues after Okabe and Ito (2008); line styles differ as well.
DATASET_LOOKS: tuple[tuple[str, Dashes], ...] = (
    ("#1f7ac4", "-"),
    ("#d9681d", "--"),
    ("#159a74", "-."),
    ("#9a6bd0", ":"),
    ("#a58300", (0, (5, 1, 1, 1, 1, 1))),
    ("#d0558a", (0, (1, 1))),
    ("#5f9330", (0, (7, 2))),
    ("#7c8896", (0, (3, 1, 1, 1))),
)
# matplotlib keeps its settings per process.
_SAVE_LOCK = threading.Lock()


@dataclass(frozen=True)
class Style:
    """How a figure is written: file format, colour of text and axes, background, PNG resolution."""

    kind: Literal["svg", "png"]
    ink: str
    background: str
    dpi: int = 96


# The grey is readable on white and on black pages.
SVG = Style("svg", "#787878", "none")
PNG = Style("png", "#333333", "#ffffff")


def escape_math(name: str) -> str:
    """The name with ``$`` escaped, which matplotlib would read as a formula."""
    return name.replace("$", r"\$")


def dataset_look(position: int) -> tuple[str, Dashes]:
    """Colour and line style of the dataset at this position; they repeat after eight."""
    return DATASET_LOOKS[position % len(DATASET_LOOKS)]


def dataset_handles(names: Sequence[str]) -> list[Line2D]:
    """A line per dataset for a legend."""
    handles = []
    for position, name in enumerate(names):
        colour, dashes = dataset_look(position)
        handles.append(
            Line2D([], [], color=colour, linestyle=dashes, lw=2.2, label=escape_math(name))
        )
    return handles


def new_figure(style: Style, size: tuple[float, float]) -> Figure:
    """An empty figure of ``size`` inches (width, height)."""
    figure = Figure(figsize=size, layout="constrained", dpi=style.dpi)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor(style.background)
    return figure


def panel_grid(
    count: int, style: Style, columns: int = 0, size: tuple[float, float] = (2.3, 2.2)
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels; without ``columns``, in rows of three or four."""
    columns = min(columns or (3 if count in (5, 6, 9) else 4), count)
    rows = math.ceil(count / columns)
    figure = new_figure(style, (size[0] * columns + 0.4, size[1] * rows + 0.4))
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def add_legend(figure: Figure, handles: Sequence[Any], style: Style) -> None:
    """Names above all panels, at most five in a row."""
    figure.legend(
        handles=list(handles),
        loc="outside upper center",
        ncols=min(5, len(handles)),
        frameon=False,
        labelcolor=style.ink,
        fontsize=9,
    )


def write_figure(figure: Figure, style: Style) -> bytes:
    """The figure as SVG or PNG bytes, axes and titles in the ink of the style."""
    for panel in figure.axes:
        panel.set_facecolor("none")
        panel.title.set_color(style.ink)
        panel.title.set_fontsize(10)
        for label in (panel.xaxis.label, panel.yaxis.label):
            label.set_color(style.ink)
            label.set_fontsize(9)
        panel.tick_params(colors=style.ink, which="both", labelsize=8)
        for side, spine in panel.spines.items():
            spine.set_color(style.ink)
            spine.set_visible(side in ("left", "bottom"))
    stream = io.BytesIO()
    # The salt makes ids repeatable. Text stays text: smaller than outlines, and searchable.
    settings: dict[Any, Any] = {"svg.hashsalt": "synthset", "svg.fonttype": "none"}
    metadata = {"Date": None, "Creator": None} if style.kind == "svg" else {"Software": None}
    with _SAVE_LOCK, matplotlib.rc_context(settings), warnings.catch_warnings():
        # A browser draws the names in an SVG with its own fonts, in any script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format=style.kind, metadata=metadata)
    return stream.getvalue()
