"""The figures: the same bytes for the same input, readable on light and dark pages, labelled."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from models.evaluation.classification import DatasetScores, score
from models.evaluation.comparison import Interval
from models.quality.records import ClassSelection
from models.reporting.plots.classes import draw_confusion_matrix, draw_prediction_share
from models.reporting.plots.curves import draw_pr_curves, draw_threshold_curves
from models.reporting.plots.datasets import History, draw_comparison, draw_learning_curves
from models.reporting.plots.quality import describe_selection, draw_selection
from models.reporting.plots.style import DATASET_LOOKS, PNG, SVG, Style

Draw = Callable[[Style], bytes]
# The style of the page, as pixels.
TRANSPARENT = replace(SVG, kind="png", dpi=50)


def make_scores(classes: int = 5, each: int = 12, seed: int = 0) -> DatasetScores:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), each)
    logits = rng.normal(size=(len(truth), classes))
    logits[np.arange(len(truth)), truth] += 1.5
    exponents = np.exp(logits)
    probabilities = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    labels = [f"kind {index}" for index in range(classes)]
    return score(truth.tolist(), probabilities, labels)


def make_history(seed: int, epochs: int = 6) -> History:
    rng = np.random.default_rng(seed)
    names = [
        f"{part}_{name}" for part in ("train", "val") for name in ("loss", "accuracy", "f1_macro")
    ]
    return {
        "epoch": list(range(epochs)),
        "learning_rate": [0.1**epoch for epoch in range(epochs)],
        **{name: rng.random(epochs).tolist() for name in names},
    }


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.05, seeds=3, photos=60)


SCORES = {
    "real": make_scores(seed=0),
    "synthetic": make_scores(seed=1),
    "mixed": make_scores(seed=2),
}
HISTORIES = {name: [make_history(seed), make_history(seed + 9)] for seed, name in enumerate(SCORES)}
INTERVALS = {
    metric: {name: interval(0.7) for name in SCORES} for metric in ("accuracy", "macro F1")
}
FIGURES: dict[str, Draw] = {
    "learning curves": lambda style: draw_learning_curves(HISTORIES, style),
    "precision-recall": lambda style: draw_pr_curves(SCORES, style),
    "thresholds": lambda style: draw_threshold_curves(SCORES["mixed"], style),
    "share": lambda style: draw_prediction_share(SCORES["real"], style),
    "confusion": lambda style: draw_confusion_matrix(SCORES["real"], style),
    "comparison": lambda style: draw_comparison(INTERVALS, style),
}


def texts(svg: bytes) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [
        "".join(element.itertext()).strip()
        for element in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def luminance(colour: str) -> float:
    parts = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", FIGURES)
def test_same_input_gives_the_same_bytes_in_any_thread(name: str) -> None:
    before = dict(matplotlib.rcParams)
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(FIGURES[name], [SVG] * 3))
    assert len(set(drawn)) == 1
    assert drawn[0].startswith(b"<?xml")
    assert len(drawn[0]) < 150_000
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", FIGURES)
def test_svg_style_is_transparent_and_visible_on_white_and_black(name: str) -> None:
    with Image.open(io.BytesIO(FIGURES[name](TRANSPARENT))) as image:
        pixels = np.asarray(image.convert("RGBA"), np.float64)
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3]
    assert (corners == 0).all()
    alpha = pixels[..., 3:] / 255
    for page in (0.0, 255.0):
        seen = pixels[..., :3] * alpha + page * (1 - alpha)
        assert (np.abs(seen - page).max(axis=2) > 60).mean() > 0.01


def test_png_style_has_a_background() -> None:
    with Image.open(io.BytesIO(FIGURES["share"](PNG))) as image:
        corner = np.asarray(image.convert("RGB"))[0, 0]
    assert "#" + "".join(f"{value:02x}" for value in corner) == PNG.background
    assert contrast(PNG.ink, PNG.background) > 7


def test_colours_are_visible_on_both_pages_and_line_styles_differ() -> None:
    for colour, _ in DATASET_LOOKS:
        assert contrast(colour, "#ffffff") >= 3
        assert contrast(colour, "#121216") >= 3
    assert min(contrast(SVG.ink, "#ffffff"), contrast(SVG.ink, "#121216")) > 4
    assert len({str(dashes) for _, dashes in DATASET_LOOKS}) == len(DATASET_LOOKS)


def test_figures_are_labelled() -> None:
    assert {"real", "synthetic", "mixed", "train", "val", "Loss", "Learning rate"} <= set(
        texts(FIGURES["learning curves"](SVG))
    )
    area = SCORES["real"].per_class["kind 3"].average_precision
    assert {"kind 3", f"AP {area:.2f}"} <= set(texts(FIGURES["precision-recall"](SVG)))
    assert {"precision", "recall", "threshold"} <= set(texts(FIGURES["thresholds"](SVG)))
    counts = {f"{amount:.0f}" for row in SCORES["real"].confusion for amount in row if amount}
    labels = {"kind 0", "true class", "predicted as"}
    assert counts | labels <= set(texts(FIGURES["confusion"](SVG)))
    assert {"accuracy", "macro F1", "70.0"} <= set(texts(FIGURES["comparison"](SVG)))
    share = SCORES["real"].prediction_share["kind 1"]
    assert any(f"kind 1  {100 * share:.0f} %" in text for text in texts(FIGURES["share"](SVG)))


def test_colours_follow_the_position_of_the_dataset() -> None:
    for names in (["mixed"], ["real", "mixed"], [f"set {index}" for index in range(8)]):
        drawn = draw_pr_curves(dict.fromkeys(names, SCORES["real"])).decode()
        used = [colour for colour, _ in DATASET_LOOKS if colour in drawn]
        assert used == [colour for colour, _ in DATASET_LOOKS[: len(names)]]


def test_many_classes_stay_legible() -> None:
    many = make_scores(classes=60, each=4)
    drawn = texts(draw_pr_curves({"real": many}))
    assert "the 12 classes with the lowest average precision; 48 more not drawn" in drawn
    worst = min(many.per_class, key=lambda label: many.per_class[label].average_precision or 0.0)
    assert worst in drawn
    assert "51 others" in " ".join(texts(draw_prediction_share(many)))
    assert len(draw_confusion_matrix(many)) < 150_000


def test_odd_names_and_single_epochs_are_drawn() -> None:
    content = make_scores(classes=2).model_dump()
    names = ["$x^2$ <&>", "naïve Äpfel"]
    for part in ("per_class", "prediction_share", "curves"):
        content[part] = dict(zip(names, content[part].values(), strict=True))
    odd = DatasetScores.model_validate(content | {"classes": names})
    for draw in (draw_threshold_curves, draw_prediction_share, draw_confusion_matrix):
        assert "$x^2$ <&>" in " ".join(texts(draw(odd)))
    assert b"</svg>" in draw_learning_curves({"real": [make_history(0, epochs=1)]})
    stopped = {"real": [make_history(0, epochs=3), make_history(1, epochs=5)]}
    assert b"</svg>" in draw_learning_curves(stopped)


def test_a_class_without_a_photo_is_drawn_where_possible() -> None:
    scores = score([0, 0, 1], np.array([[0.9, 0.1, 0.0]] * 3, np.float32), ["a", "b", "c"])
    assert "c" not in texts(draw_threshold_curves(scores))
    assert "c" in texts(draw_confusion_matrix(scores))
    assert b"</svg>" in draw_prediction_share(scores)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: draw_learning_curves({}), "at least one dataset"),
        (lambda: draw_learning_curves({"real": [{"epoch": []}]}), "history of epochs"),
        (lambda: draw_pr_curves({}), "at least one dataset"),
        (lambda: draw_comparison({}), "at least one metric"),
        (
            lambda: draw_comparison({"a": {"real": interval(0.5)}, "b": {"mixed": interval(0.5)}}),
            "the same datasets",
        ),
    ],
)
def test_rejects_missing_input(draw: Callable[[], bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def test_the_figure_of_a_selection_has_a_panel_per_class() -> None:
    selections = [
        ClassSelection(
            generator="multiview",
            label=label,
            images=4,
            kept=3,
            curve=((4, 0.4, None), (3, 0.2, None)),
        )
        for label in ("mug", "shoe")
    ]
    svg = draw_selection(selections).decode()
    assert svg.count("multiview · ") == 2
    assert "images left (kept: 3)" in svg
    assert describe_selection(selections[:1]) == "multiview, mug: 3 of 4 images kept"
    with pytest.raises(ValueError, match="at least one curve"):
        draw_selection([selections[0].model_copy(update={"curve": ()})])
