"""How every figure of the report looks: its colours, its two themes, and how it becomes bytes.

Without a theme the background is transparent and all ink a middle grey that stands out from white
and from black pages alike. Arms have fixed colours that people with any colour vision tell apart
(after Okabe and Ito 2008), and differ in line style too. Nothing here uses pyplot, whose figures
are shared between threads.
"""

import io
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Per arm: colour, line style. Middle tones: each has a contrast of 3 to white and to black.
ARMS = {
    "real": ("#1f7ac4", "-"),
    "synthetic": ("#d9681d", "--"),
    "mixed": ("#159a74", "-."),
}
OTHERS = (("#b5619b", ":"), ("#a58300", (0, (5, 1, 1, 1, 1, 1))), ("#3f98b8", (0, (1, 1))))
INKS = {
    "auto": ("#787878", "none"),
    "light": ("#333333", "#ffffff"),
    "dark": ("#d0d0d0", "#16181d"),
}
# matplotlib keeps its settings per process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Style:
    """How a figure is written. ``auto`` suits light and dark pages; ``dpi`` is for PNG only."""

    kind: Literal["svg", "png"] = "svg"
    theme: Literal["auto", "light", "dark"] = "auto"
    dpi: int = 144

    @property
    def ink(self) -> str:
        """Colour of text and axes."""
        return INKS[self.theme][0]


SVG = Style()


def plain(name: str) -> str:
    """The name without what matplotlib would read as a formula."""
    return name.replace("$", r"\$")


def arm_look(arm: str, arms: Sequence[str]) -> tuple[str, Any]:
    """Colour and line style of an arm; unknown ones take further colours in their order."""
    if arm in ARMS:
        return ARMS[arm]
    unknown = [name for name in arms if name not in ARMS]
    return OTHERS[unknown.index(arm) % len(OTHERS)]


def arm_handle(arm: str, arms: Sequence[str]) -> Line2D:
    """The arm's line for a legend."""
    colour, dashes = arm_look(arm, arms)
    return Line2D([], [], color=colour, linestyle=dashes, lw=2.2, label=plain(arm))


def new_figure(style: Style, size: tuple[float, float]) -> Figure:
    """An empty figure of ``size`` inches (width, height)."""
    figure = Figure(figsize=size, layout="constrained", dpi=style.dpi)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor(INKS[style.theme][1])
    return figure


def panel_grid(
    count: int, style: Style, columns: int = 0, size: tuple[float, float] = (2.3, 2.2)
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels; without ``columns``, in rows of three or four."""
    columns = min(columns or (3 if count in (5, 6, 9) else 4), count)
    rows = math.ceil(count / columns)
    figure = new_figure(style, (size[0] * columns + 0.4, size[1] * rows + 0.4))
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(count)]


def put_legend(figure: Figure, handles: Sequence[Any], style: Style) -> None:
    """One row of names above all panels."""
    figure.legend(
        handles=list(handles),
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        labelcolor=style.ink,
        fontsize=9,
    )


def write_figure(figure: Figure, style: Style) -> bytes:
    """The figure's bytes, its axes and titles in the theme's ink."""
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
    held = io.BytesIO()
    # Ids in an SVG are random unless salted, and text is left as text: smaller, and searchable.
    settings: dict[Any, Any] = {"svg.hashsalt": "synthset", "svg.fonttype": "none"}
    metadata = {"Date": None, "Creator": None} if style.kind == "svg" else {"Software": None}
    with _ONE_AT_A_TIME, matplotlib.rc_context(settings):
        figure.savefig(held, format=style.kind, metadata=metadata)
    return held.getvalue()
