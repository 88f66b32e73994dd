"""All figures of a run, for ``plots/*.svg`` and for the page, and their form inside a page."""

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from markupsafe import Markup

from models.evaluation.classification import DatasetScores
from models.evaluation.detection.scores import DetectionScores
from models.reporting.input import Figure
from models.reporting.metrics import Metrics
from models.reporting.plots.classes import draw_confusion_matrix, draw_prediction_share
from models.reporting.plots.curves import (
    draw_pr_curves,
    draw_threshold_curves,
    precision_recall_of,
)
from models.reporting.plots.datasets import draw_comparison, draw_learning_curves
from models.reporting.plots.losses import describe_losses, draw_losses
from models.reporting.plots.quality import (
    describe_nearest,
    describe_selection,
    draw_nearest,
    draw_selection,
)
from models.reporting.plots.style import DATASET_LOOKS, SVG, Style
from models.reporting.tables import TITLES, decimal, lower_first, percent

# The figure that the section on quality shows.
NEAREST_PHOTOS = "nearest-photos"
_NAMESPACE = re.compile(r"\{[^}]*\}")
# What the page uses instead of the fixed colours, so that a figure follows its light or dark theme.
_PAGE_COLOURS = {
    SVG.ink: "var(--soft)",
    **{colour: f"var(--t{index})" for index, (colour, _) in enumerate(DATASET_LOOKS)},
}


def draw_figures(metrics: Metrics) -> Iterator[Figure]:
    """Quality, losses of generators, learning curves, comparison; then three per dataset."""
    if metrics.quality is not None and metrics.quality.nearest:
        yield Figure(
            NEAREST_PHOTOS,
            "How near the nearest photo is",
            describe_nearest(metrics.quality),
            draw_nearest(metrics.quality),
        )
    if any(found.curve for found in metrics.selections):
        yield Figure(
            "selection",
            "What the selection left out",
            describe_selection(metrics.selections),
            draw_selection(metrics.selections),
            on_page=True,
        )
    for stage in dict.fromkeys(found.stage for found in metrics.finetuned):
        found = [row for row in metrics.finetuned if row.stage == stage]
        losses = {row.label: row.losses for row in found}
        scores = {row.label: row.scores for row in found}
        yield Figure(
            f"{stage}-losses",
            f"How {stage} learned",
            describe_losses(losses, scores),
            draw_losses(losses, every=found[0].loss_every, scores=scores),
            on_page=True,
        )
    tested = [name for name, data in metrics.datasets.items() if data.test is not None]
    if not tested:
        return
    histories = {
        name: [run.history for run in metrics.runs if run.dataset == name]
        for name in tested
        # A linear classifier has no epochs.
        if not any(run.network.startswith("linear") for run in metrics.runs if run.dataset == name)
    }
    if histories:
        yield Figure(
            "learning-curves",
            "Learning curves",
            _describe_learning(metrics),
            draw_learning_curves(histories),
            on_page=True,
        )
    if metrics.verdict:
        title = TITLES[metrics.verdict.metric]
        description = f"{title} on the test photos of each dataset, with its 95 % interval."
        yield Figure("comparison", "Comparison", description, draw_scoreboard(metrics, SVG))
    curves = {
        name: data.test
        for name, data in metrics.datasets.items()
        if isinstance(data.test, DatasetScores | DetectionScores) and data.test.curves
    }
    if not curves:
        return
    is_detection = isinstance(next(iter(curves.values())), DetectionScores)
    yield Figure(
        "precision-recall",
        f"Precision by recall{' at an IoU of 0.5' if is_detection else ''}",
        _describe_precision(curves),
        draw_pr_curves(curves),
        on_page=True,
    )
    for name, test in curves.items():
        if isinstance(test, DetectionScores):
            continue
        yield Figure(
            f"{name}-thresholds",
            f"Precision and recall by threshold: {name}",
            "A panel per class: precision and recall over the probability threshold, 0 to 1.",
            draw_threshold_curves(test),
            on_page=True,
        )
        shares, confusion = draw_prediction_share(test), draw_confusion_matrix(test)
        yield Figure(f"{name}-prediction-share", f"Predicted shares: {name}", "", shares)
        yield Figure(f"{name}-confusion", f"Confusion matrix: {name}", "", confusion)


def draw_scoreboard(metrics: Metrics, style: Style) -> bytes:
    """The comparison of the datasets with intervals.

    Raises:
        ValueError: the metrics hold no verdict.
    """
    if metrics.verdict is None:
        raise ValueError("metrics: verdict is missing; train on at least two datasets")
    label = f"{TITLES[metrics.verdict.metric]} on test photos, 95 % interval"
    return draw_comparison({label: metrics.verdict.intervals}, style)


def inline_svg(figure: Figure) -> Markup:
    """The figure as an ``<svg>`` element for an HTML page, as wide as its place on the page.

    Ids get the figure's name in front, so that they are unique on the page. Title and description
    are read out by screen readers. Colours become those of the page.
    """
    root = ElementTree.fromstring(figure.svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _NAMESPACE.sub("", child.tag) in ("metadata", "style"):
                parent.remove(child)
    prefix = f"figure-{re.sub('[^A-Za-z0-9-]', '_', figure.name)}"
    used = set(re.findall(r"#([\w-]+)", _attributes(root)))
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", element.tag)
        element.attrib = {
            _NAMESPACE.sub("", name): _for_page(_NAMESPACE.sub("", name), value, prefix)
            for name, value in element.attrib.items()
            if name != "id" or value in used
        }
    _describe(root, prefix, figure)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _for_page(name: str, value: str, prefix: str) -> str:
    """An attribute with the id prefix and the colours of the page."""
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        return f"#{prefix}-{value.removeprefix('#')}"
    for colour, variable in _PAGE_COLOURS.items():
        value = value.replace(colour, variable)
    return value.replace("url(#", f"url(#{prefix}-")


def _attributes(root: ElementTree.Element) -> str:
    return " ".join(value for element in root.iter() for value in element.attrib.values())


def _describe(root: ElementTree.Element, prefix: str, figure: Figure) -> None:
    width = root.get("viewBox", "0 0 1 1").split()[2]
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        # matplotlib writes these two defaults as a style sheet, which would count for all figures.
        "style": f"--natural:{width}px;stroke-linejoin:round;stroke-linecap:butt",
        "role": "img",
        "aria-labelledby": f"{prefix}-title {prefix}-desc",
    }
    for index, (tag, text) in enumerate((("title", figure.title), ("desc", figure.description))):
        element = ElementTree.Element(tag, {"id": f"{prefix}-{tag}"})
        element.text = text
        root.insert(index, element)


def _describe_learning(metrics: Metrics) -> str:
    parts = []
    for name in metrics.datasets:
        runs = [run for run in metrics.runs if run.dataset == name]
        if runs:
            metric = runs[0].val.headline
            title = lower_first(TITLES[metric])
            scores = [float(getattr(run.val, metric)) for run in runs]
            parts.append(
                f"{name}: {len(runs)} trainings, validation {title} of the kept epochs "
                f"{percent(min(scores))} to {percent(max(scores))}"
            )
    return "; ".join(parts)


def _describe_precision(scores: Mapping[str, DatasetScores | DetectionScores]) -> str:
    parts = []
    for name, test in scores.items():
        curves = precision_recall_of(test)
        areas = [f"{label} {decimal(curve.area)}" for label, curve in curves.items()]
        parts.append(f"{name}: average precision {', '.join(areas)}")
    return "; ".join(parts)
