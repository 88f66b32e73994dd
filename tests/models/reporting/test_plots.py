import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from models.evaluation.classification import Scores, score
from models.evaluation.comparison import Difference, Interval
from models.reporting.figure_style import ARMS, INKS, OTHERS, Style
from models.reporting.plots import (
    draw_comparison,
    draw_confusion_matrix,
    draw_differences,
    draw_learning_curves,
    draw_pr_curves,
    draw_prediction_share,
    draw_threshold_curves,
)

Draw = Callable[[Style], bytes]


def make_scores(classes: int = 5, each: int = 12, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), each)
    logits = rng.normal(size=(len(truth), classes))
    logits[np.arange(len(truth)), truth] += 1.5
    exponents = np.exp(logits)
    probabilities = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return score(truth.tolist(), probabilities, [f"kind {index}" for index in range(classes)])


def make_history(seed: int, epochs: int = 6) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    names = [
        f"{part}_{name}" for part in ("train", "val") for name in ("loss", "accuracy", "f1_macro")
    ]
    return [
        {"epoch": epoch, "learning_rate": 0.1**epoch} | {name: rng.random() for name in names}
        for epoch in range(epochs)
    ]


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.05, over="seeds")


def difference(arm: str, value: float) -> Difference:
    return Difference(
        dataset_a=arm,
        dataset_b="real",
        metric="f1_macro",
        difference=value,
        low=value - 0.03,
        high=value + 0.04,
        level=0.95,
        seeds=3,
        photos=90,
        seed_variance_share=0.2,
    )


SCORES = {
    "real": make_scores(seed=0),
    "synthetic": make_scores(seed=1),
    "mixed": make_scores(seed=2),
}
HISTORIES = {arm: [make_history(seed), make_history(seed + 9)] for seed, arm in enumerate(SCORES)}
INTERVALS = {name: {arm: interval(0.7) for arm in SCORES} for name in ("accuracy", "macro F1")}
GAPS = {"synthetic": difference("synthetic", -0.071), "mixed": difference("mixed", 0.052)}
FIGURES: dict[str, Draw] = {
    "learning curves": lambda style: draw_learning_curves(HISTORIES, style),
    "precision-recall": lambda style: draw_pr_curves(SCORES, style),
    "thresholds": lambda style: draw_threshold_curves(SCORES["mixed"], style),
    "share": lambda style: draw_prediction_share(SCORES["real"], style),
    "confusion": lambda style: draw_confusion_matrix(SCORES["real"], style),
    "comparison": lambda style: draw_comparison(INTERVALS, style),
    "differences": lambda style: draw_differences(GAPS, style),
}


def texts(svg: bytes) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [
        "".join(element.itertext()).strip()
        for element in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def luminance(colour: str) -> float:
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", FIGURES)
def test_same_input_same_bytes_in_any_thread(name: str) -> None:
    style = Style("svg")
    before = dict(matplotlib.rcParams)
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(FIGURES[name], [style] * 3))
    assert len(set(drawn)) == 1
    assert drawn[0].startswith(b"<?xml")
    assert len(drawn[0]) < 150_000
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", FIGURES)
def test_auto_theme_is_transparent_and_shows_on_white_and_black(name: str) -> None:
    with Image.open(io.BytesIO(FIGURES[name](Style("png", "auto", 50)))) as image:
        pixels = np.asarray(image.convert("RGBA"), np.float64)
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3]
    assert (corners == 0).all()
    alpha = pixels[..., 3:] / 255
    for page in (0.0, 255.0):
        seen = pixels[..., :3] * alpha + page * (1 - alpha)
        assert (np.abs(seen - page).max(axis=2) > 60).mean() > 0.01


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_named_themes_fill_the_background(theme: Any) -> None:
    with Image.open(io.BytesIO(FIGURES["share"](Style("png", theme, 50)))) as image:
        corner = np.asarray(image.convert("RGB"))[0, 0]
    assert "#" + "".join(f"{value:02x}" for value in corner) == INKS[theme][1]
    assert contrast(*INKS[theme]) > 7


def test_colours_stand_out_on_both_pages_and_from_each_other() -> None:
    for colour, _ in (*ARMS.values(), *OTHERS):
        assert contrast(colour, "#ffffff") >= 2.9
        assert contrast(colour, "#121216") >= 2.9
    ink = INKS["auto"][0]
    assert min(contrast(ink, "#ffffff"), contrast(ink, "#121216")) > 4
    looks = [dashes for _, dashes in (*ARMS.values(), *OTHERS)]
    assert len({str(dashes) for dashes in looks}) == len(looks)


def test_figures_are_labelled() -> None:
    assert {"real", "synthetic", "mixed", "train", "val", "Loss", "Learning rate"} <= set(
        texts(FIGURES["learning curves"](Style()))
    )
    area = SCORES["real"]["per_class"]["kind 3"]["average_precision"]
    assert {"kind 3", f"AP {area:.2f}"} <= set(texts(FIGURES["precision-recall"](Style())))
    assert {"precision", "recall", "threshold"} <= set(texts(FIGURES["thresholds"](Style())))
    counts = {str(count) for row in SCORES["real"]["confusion"] for count in row if count}
    assert counts | {"kind 0", "true class"} <= set(texts(FIGURES["confusion"](Style())))
    assert {"accuracy", "macro F1", "70.0"} <= set(texts(FIGURES["comparison"](Style())))
    assert "+5.2 (+2.2 to +9.2)" in texts(FIGURES["differences"](Style()))
    share = SCORES["real"]["prediction_share"]["kind 1"]
    assert any(f"kind 1  {100 * share:.0f} %" in text for text in texts(FIGURES["share"](Style())))


def test_an_arm_keeps_its_colour() -> None:
    for arms in (["mixed"], ["real", "mixed"], ["other", "mixed", "synthetic"]):
        drawn = draw_pr_curves(dict.fromkeys(arms, SCORES["real"])).decode()
        assert ARMS["mixed"][0] in drawn
        assert (ARMS["real"][0] in drawn) == ("real" in arms)


def test_many_classes_stay_legible() -> None:
    many = make_scores(classes=60, each=4)
    drawn = texts(draw_pr_curves({"real": many}))
    assert "the 12 classes with the lowest average precision; 48 more not drawn" in drawn
    worst = min(many["per_class"].items(), key=lambda row: row[1]["average_precision"] or 0.0)[0]
    assert worst in drawn
    assert "51 others" in " ".join(texts(draw_prediction_share(many)))
    assert len(draw_confusion_matrix(many)) < 150_000


def test_odd_names_and_single_epochs_are_drawn() -> None:
    odd = make_scores(classes=2)
    names = ["$x^2$ <&>", "naïve Äpfel"]
    renamed: Any = odd | {
        "classes": names,
        "per_class": dict(zip(names, odd["per_class"].values(), strict=True)),
        "prediction_share": dict(zip(names, odd["prediction_share"].values(), strict=True)),
        "curves": dict(zip(names, odd["curves"].values(), strict=True)),
    }
    for draw in (draw_threshold_curves, draw_prediction_share, draw_confusion_matrix):
        assert "$x^2$ <&>" in " ".join(texts(draw(renamed)))
    assert b"</svg>" in draw_learning_curves({"real": [make_history(0, epochs=1)]})
    stopped = {"real": [make_history(0, epochs=3), make_history(1, epochs=5)]}
    assert b"</svg>" in draw_learning_curves(stopped)


def test_class_without_a_photo_is_drawn_where_it_can_be() -> None:
    scores = score([0, 0, 1], np.array([[0.9, 0.1, 0.0]] * 3, np.float32), ["a", "b", "c"])
    assert "c" not in texts(draw_threshold_curves(scores))
    assert "c" in texts(draw_confusion_matrix(scores))
    assert b"</svg>" in draw_prediction_share(scores)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: draw_learning_curves({}), "at least one arm"),
        (lambda: draw_learning_curves({"real": [[]]}), "history of epochs"),
        (lambda: draw_pr_curves({}), "at least one arm"),
        (lambda: draw_comparison({}), "at least one metric"),
        (
            lambda: draw_comparison({"a": {"real": interval(0.5)}, "b": {"mixed": interval(0.5)}}),
            "the same arms",
        ),
        (lambda: draw_differences({}), "at least one"),
    ],
)
def test_nothing_to_draw_is_said(draw: Callable[[], bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()
