"""The report: self-contained, safe against names from the user, complete, or graceful."""

import base64
import copy
import html
import math
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.pixels import decode
from models.reporting.charts import Axis, Series, Words, draw_lines, mean_by_place
from models.reporting.curves import class_tones, learning_charts
from models.reporting.headline import headline_of
from models.reporting.numbers import arms_of, confusion_of, duration, percent, points
from models.reporting.page import (
    Gap,
    ReportInput,
    Sheet,
    SheetRow,
    Thumb,
    contact_sheet,
    render_report,
)
from models.reporting.thumbnails import draw_thumb, show_thumbs
from tests.models.reporting.report_case import (
    ARMS,
    CLASSES,
    draw_matte,
    draw_scene,
    make_metrics,
    make_report,
    make_sheet,
)

VOID = {"meta", "img", "input", "br", "link", "hr"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """Reads a page: its tags with their attributes, its text, and whether its tags pair up."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unpaired: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unpaired.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every tag of that name."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    return make_metrics()


@pytest.fixture(scope="module")
def text(metrics: dict[str, Any]) -> str:
    return render_report(make_report(metrics))


def test_page_is_well_formed_and_needs_nothing_from_outside(text: str) -> None:
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert page.unpaired == []
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    sources = [image["src"] for image in page.all("img")]
    assert len(sources) > 50
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text


def test_every_picture_has_words_and_every_link_a_target(text: str) -> None:
    page = Page(text)
    assert all(image["alt"] for image in page.all("img"))
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert max(ids.values()) == 1
    targets = [(link["href"] or "").removeprefix("#") for link in page.all("a")]
    assert set(targets) <= set(ids)
    labelled = [one["aria-labelledby"] for one in page.all("section")]
    assert set(labelled) <= set(ids)


def test_parts_come_in_the_order_in_which_they_are_read(text: str) -> None:
    order = re.findall(r'<(?:section|header)[^>]* id="(\w+)"', text)
    assert order == [
        *("verdict", "making", "sheets", "datasets", "rejects", "learning", "scores", "mistakes"),
        *("refused", "licences", "recipe"),
    ]


def test_page_tells_the_verdict_the_arithmetic_and_the_scores(
    text: str, metrics: dict[str, Any]
) -> None:
    told = " ".join(Page(text).text.split())
    first = metrics["verdict"]["text"].split(". ")[0]
    assert f"{first}." in told
    assert "images per photo" in told
    assert "15 photos, 1,680 images in all" in told
    for arm in ARMS:
        assert percent(metrics["verdict"]["intervals"][arm]["value"]) in told
        assert percent(metrics["datasets"][arm]["test"]["accuracy"]) in told
    assert "6 of 112 shown" in told
    assert "near-duplicate of a sibling" in told
    assert "taken for mug, 0.71" in told
    assert f"{CLASSES[0]}/broken.jpg" in told
    assert "outpaint:\n  k: 2" in html.unescape(text)


def test_same_run_gives_the_same_page(text: str) -> None:
    assert render_report(make_report(make_metrics())) == text


def test_names_from_the_user_never_become_markup() -> None:
    metrics = make_metrics((HOSTILE, "it's & <b>", "mug"))
    metrics["notes"] = [HOSTILE]
    metrics["refused"] = [{"file": HOSTILE, "reason": HOSTILE}]
    metrics["references"][0] |= {"status": "failed", "reason": HOSTILE}
    metrics["models"] = [dict.fromkeys(("stage", "model", "revision", "licence"), HOSTILE)]
    metrics["recipe"]["name"] = HOSTILE
    metrics["verdict"]["text"] = HOSTILE
    metrics["datasets"][HOSTILE] = metrics["datasets"]["real"]
    report = make_report(metrics)
    thumb = Thumb(draw_scene(0, 32, 32), HOSTILE, HOSTILE)
    samples = {HOSTILE: (thumb,)}
    page = Page(render_report(ReportInput(HOSTILE, metrics, report.sheets, (), samples)))
    assert page.unpaired == []
    assert not page.all("script")
    assert not [name for _, one in page.tags for name in one if name.startswith("on")]
    assert all((one["src"] or "").startswith("data:") for one in page.all("img"))
    assert "alert(1)" in page.text


@pytest.mark.parametrize("missing", sorted(make_metrics(seeds=1)))
def test_any_part_of_the_metrics_may_be_missing(metrics: dict[str, Any], missing: str) -> None:
    rest = {name: part for name, part in metrics.items() if name != missing}
    report = make_report(metrics)
    page = Page(render_report(ReportInput("run", rest, report.sheets[:1], (), {"real": ()})))
    assert page.unpaired == []
    assert not re.search(r"\b(None|nan|Undefined)\b", page.text)


def test_a_run_without_anything_still_gives_a_page() -> None:
    page = Page(render_report(ReportInput("empty", {})))
    assert page.unpaired == []
    assert "No dataset has been built yet." in page.text
    assert "No image has been made yet." in page.text
    assert not re.search(r"\b(None|nan|Undefined)\b", page.text)


def test_scores_that_are_no_numbers_are_shown_as_a_dash(metrics: dict[str, Any]) -> None:
    broken = copy.deepcopy(metrics)
    for one in broken["datasets"].values():
        one["test"] |= {"accuracy": math.nan, "roc_auc": None, "accuracy_low": None}
        one["test"]["per_class"]["mug"] |= {"recall": None, "f1": None, "support": 0}
        one["test"]["curves"].pop("mug")
    for run in broken["runs"]:
        run["history"]["val_loss"][3] = math.nan
    page = Page(render_report(make_report(broken)))
    assert not re.search(r"\b(None|nan|NaN)\b", page.text)
    assert "ROC-AUC –" in page.text


def test_a_failed_reference_is_named_at_the_top_with_its_reason(metrics: dict[str, Any]) -> None:
    failed = copy.deepcopy(metrics)
    failed["references"][2] |= {"status": "failed", "reason": "segment: no object was found"}
    told = " ".join(Page(render_report(make_report(failed))).text.split())
    assert "1 of 15 reference photos failed" in told
    assert told.index("segment: no object was found") < told.index("How the images were made")


def test_reject_counts_are_shown_where_there_are_no_pictures(metrics: dict[str, Any]) -> None:
    told = Page(render_report(ReportInput("run", metrics))).text
    assert "object too small" in told
    assert "17" in told


def test_many_classes_and_arms_keep_colours_apart() -> None:
    classes = tuple(f"breed_{place:02d}" for place in range(12))
    metrics = make_metrics(classes, seeds=1, arms=(*ARMS, "few_shot"))
    arms = arms_of(metrics)
    assert len({arm.tone for arm in arms}) == 4
    tones = class_tones(arms, classes)
    assert len(tones) == len(set(tones.values())) < 8
    assert not set(tones.values()) & {0, 1, 2}
    page = Page(render_report(make_report(metrics)))
    assert f"the other {12 - len(tones)} classes" in page.text
    assert page.unpaired == []


def test_a_dataset_keeps_its_colour_whatever_stands_beside_it() -> None:
    every = {arm.name: arm.tone for arm in arms_of(make_metrics())}
    two = make_metrics(arms=("mixed", "synthetic"), seeds=1)
    assert {arm.name: arm.tone for arm in arms_of(two)} == {
        name: every[name] for name in ("mixed", "synthetic")
    }


def test_page_of_a_demo_stays_below_eight_megabytes(metrics: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (256, 256, 3), np.uint8) for _ in range(5)]
    row = SheetRow("noise", "", tuple(Thumb(one) for one in noise), 5)
    sheets = tuple(Sheet(f"mug/{place}", "mug", (row,) * 4) for place in range(15))
    assert len(render_report(ReportInput("large", metrics, sheets))) < 8_000_000


def test_thumbnails_share_a_budget_and_keep_their_shape() -> None:
    thumbs = [Thumb(draw_scene(place, 600, 400)) for place in range(4)]
    roomy, tight = show_thumbs(thumbs), show_thumbs(thumbs, budget_bytes=1)
    assert (roomy[0].width, roomy[0].height) == (160, 240)
    assert (tight[0].width, tight[0].height) == (75, 112)
    assert roomy[0].aspect == pytest.approx(2 / 3, abs=0.01)
    assert len(tight[0].source) < len(roomy[0].source)
    assert show_thumbs([]) == []


def test_matte_is_shown_on_a_checker_outlined_or_not_at_all() -> None:
    photo, matte = draw_scene(1, 80, 80), draw_matte(80, 80)
    rgba = np.dstack([photo, matte])
    checker = draw_thumb(Thumb(rgba, matte_as="checker"), 80)
    outline = draw_thumb(Thumb(rgba, matte_as="outline"), 80)
    hidden = draw_thumb(Thumb(rgba, matte_as="hidden"), 80)
    assert np.array_equal(hidden, photo)
    assert np.array_equal(checker[matte == 255], photo[matte == 255])
    assert np.ptp(checker[matte == 0], axis=1).max() < 16
    assert len(np.unique(checker[matte == 0], axis=0)) == 2
    changed = (outline != photo).any(axis=2)
    assert 80 < changed.sum() < 400
    assert not changed[matte >= 128].any()


def test_masks_are_black_and_white_and_depth_rises_in_brightness() -> None:
    matte = draw_matte(64, 64)
    mask = draw_thumb(Thumb(matte > 127), 64)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(
        draw_thumb(Thumb(np.where(matte > 127, 255, 0).astype(np.uint8)), 64), mask
    )
    depth = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None], 16, axis=0)
    brightness = draw_thumb(Thumb(depth), 64).astype(int).sum(axis=2)[0]
    assert brightness[0] < 30
    assert (np.diff(brightness[::8]) > 0).all()


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
)
def test_an_array_that_is_no_picture_is_named(pixels: Any) -> None:
    with pytest.raises(ValueError, match="thumbnail 'view 3'"):
        draw_thumb(Thumb(pixels, title="view 3"), 64)


def test_thumbnail_address_decodes_to_the_picture() -> None:
    shown = show_thumbs([Thumb(draw_scene(2, 50, 70), "a mug")])[0]
    picture = decode(base64.b64decode(shown.source.split(",", 1)[1]))
    assert picture.shape == (50, 70, 3)
    assert np.abs(picture.astype(int) - draw_scene(2, 50, 70)).mean() < 6
    assert shown.alternative == "a mug"


def test_contact_sheet_holds_every_row_and_picture_and_is_stable() -> None:
    sheet = make_sheet()
    drawn = contact_sheet(sheet)
    assert drawn.dtype == np.uint8
    assert drawn.shape[1:] == (contact_sheet(Sheet("a", "b", ())).shape[1], 3)
    assert np.array_equal(contact_sheet(make_sheet()), drawn)
    fewer = contact_sheet(Sheet(sheet.reference, sheet.label, sheet.rows[:-1]))
    assert fewer.shape[0] < drawn.shape[0]
    plain = [Thumb(np.full((60, 80, 3), colour, np.uint8)) for colour in (40, 90, 140)]
    marked = contact_sheet(Sheet("a", "b", (SheetRow("s", "", tuple(plain), 3),)))
    flat = (marked == marked[..., :1]).all(axis=2)
    areas = [int(((marked[..., 0] == colour) & flat).sum()) for colour in (40, 90, 140)]
    assert min(areas) > 20_000
    assert max(areas) - min(areas) < 300


def test_contact_sheet_wraps_wide_rows_and_takes_empty_ones() -> None:
    scene = Thumb(draw_scene(0, 96, 128), "a caption that is far too long for its picture to carry")
    one = contact_sheet(Sheet("a", "b", (SheetRow("s", "", (scene,) * 5, 5),)))
    many = contact_sheet(Sheet("a", "b", (SheetRow("s", "", (scene,) * 16, 16),)))
    assert many.shape[0] > one.shape[0] + 90
    assert many.shape[1] == one.shape[1]
    nothing = contact_sheet(Sheet("a", "b", (SheetRow("depth", "no picture was made", (), 0),)))
    assert nothing.shape[0] > 100


def test_cells_of_an_aligned_row_stand_in_their_columns_with_gaps() -> None:
    """Two lines of three columns; each picture is as wide as its column, wherever the gaps are."""
    colours = (40, 90, 140)
    plain = [Thumb(np.full((60, 80, 3), colour, np.uint8)) for colour in colours]
    cells = (plain[0], Gap("no object found"), plain[1], Gap(), plain[2], plain[0])
    columns = ("view 0", "view 1", "view 2")
    row = SheetRow("depth", "", cells, 4, aligned=True, words=(("prompt", "a mug"),))
    drawn = contact_sheet(Sheet("a", "b", (row,), columns))
    flat = (drawn == drawn[..., :1]).all(axis=2)
    lefts = [np.nonzero((drawn[..., 0] == colour) & flat)[1].min() for colour in (90, 140)]
    first = np.nonzero((drawn[..., 0] == 40) & flat)[1]
    assert lefts[0] - first.min() == 2 * (lefts[1] - first.min())
    assert first.max() > lefts[0], "the same picture again, in the last column"
    without = contact_sheet(Sheet("a", "b", (replace(row, words=()),), columns))
    assert drawn.shape[0] > without.shape[0]


def test_the_page_names_columns_gaps_and_prompts(metrics: dict[str, Any]) -> None:
    out = Thumb(draw_scene(0, 30, 40), "on grass", "c 0", left_out="object too small")
    row = SheetRow(
        *("background", "new scenes", (Gap("no object found"), out, Gap()), 9),
        aligned=True,
        words=(("first prompt", "(a mug)1.2 on grass"),),
    )
    sheet = Sheet("mug/photo-0", "mug", (row,), ("view 0", "view 1", "view 2"))
    page = Page(render_report(ReportInput("run", metrics, (sheet,))))
    told = " ".join(page.text.split())
    assert "first prompt (a mug)1.2 on grass view 0 view 1 view 2 left out: no object found" in told
    assert "left out: object too small c 0 on grass" in told
    assert "background, view 2: nothing was made" in told
    assert "1 of 9 shown" in told
    (picture,) = page.all("img")
    assert picture["alt"] == "background, view 1: c 0: on grass"


def test_learning_charts_mark_the_kept_epoch_and_merge_equal_rates(metrics: dict[str, Any]) -> None:
    charts = {chart.title: chart for chart in learning_charts(arms_of(metrics))}
    assert set(charts) == {"Accuracy", "Loss", "F1, macro", "Learning rate"}
    assert [line.name for line in charts["Learning rate"].lines] == ["every dataset"]
    marks = [line for line in charts["Accuracy"].lines if line.mark]
    assert len(marks) == len(metrics["runs"])
    assert charts["Accuracy"].x_ticks[0].label == "1"


def test_curves_of_one_training_have_no_faint_copies(metrics: dict[str, Any]) -> None:
    single = copy.deepcopy(metrics)
    single["runs"] = [run for run in single["runs"] if run["seed"] == 0]
    accuracy = learning_charts(arms_of(single))[0]
    assert not any(line.faint for line in accuracy.lines)
    assert sum(line.mark is not None for line in accuracy.lines) == len(ARMS)


def test_line_chart_places_points_and_ticks_where_they_belong() -> None:
    line = Series("a", ((0.0, 0.0), (5.0, 0.5), (10.0, 1.0)), 0, marked=1)
    chart = draw_lines(Words("t"), [line], Axis("x", whole=True), Axis("y", 0.0, 1.0, percent=True))
    assert chart is not None
    assert chart.lines[0].path == "M0 1000L500 500L1000 0"
    assert chart.lines[0].mark == "M500 500h0"
    assert [(tick.label, tick.at) for tick in chart.y_ticks][:2] == [("0%", 0.0), ("25%", 25.0)]
    assert chart.lines[0].dots[1] == ("M500 500h0", "a, x 5: y 50.0%")
    assert "from 0.0% to 100.0%" in chart.summary
    assert draw_lines(Words("t"), [Series("a", (), 0)], Axis("x"), Axis("y")) is None


@pytest.mark.parametrize("value", [0.0, 3.0, -2.5, 1e-9])
def test_line_chart_of_a_constant_stays_inside_its_frame(value: float) -> None:
    chart = draw_lines(
        Words("t"), [Series("a", ((1.0, value),), 0)], Axis("x", whole=True), Axis("y")
    )
    assert chart is not None
    assert all(0 <= tick.at <= 100 for tick in (*chart.x_ticks, *chart.y_ticks))
    x, y = map(float, re.findall(r"-?[\d.]+", chart.lines[0].path)[:2])
    assert 0 <= x <= 1000
    assert 0 <= y <= 1000


def test_mean_over_runs_stops_where_fewer_than_half_went_on() -> None:
    runs = [{1.0: 0.2, 2.0: 0.4, 3.0: 0.6}, {1.0: 0.4, 2.0: 0.6}, {1.0: 0.6}]
    assert mean_by_place(runs) == ((1.0, pytest.approx(0.4)), (2.0, pytest.approx(0.5)))


def test_headline_reads_differences_and_their_intervals(metrics: dict[str, Any]) -> None:
    found = headline_of(metrics, arms_of(metrics), CLASSES)
    assert found.title == "Macro F1"
    assert [bar.arm.name for bar in found.bars] == list(ARMS)
    assert all(len(bar.seeds) == 3 and bar.has_interval for bar in found.bars)
    given = {
        "verdict": {"text": "One. Two."},
        "comparisons": [
            {"a": "mixed", "b": "real", "difference": 0.05, "low": 0.01, "high": 0.09},
            {"a": "synthetic", "b": "real", "difference": -0.02, "low": -0.05, "high": 0.01},
            {"a": "few_shot", "b": "real", "difference": -0.2, "low": -0.3, "high": -0.1},
        ],
    }
    plain = headline_of(given, (), ())
    assert (plain.sentence, plain.rest) == ("One.", "Two.")
    better, same, worse = (one.reading for one in plain.differences)
    assert better.startswith("mixed is 5.0 points above real")
    assert "can't be told apart" in same
    assert worse.startswith("real is 20.0 points above few_shot")
    assert plain.limit == pytest.approx(0.3)


def test_confusion_names_the_most_frequent_mistakes_first() -> None:
    test = {"confusion": [[18, 2, 0], [5, 15, 0], [0, 1, 19]]}
    arm = arms_of({"datasets": {"real": {"test": test}}})[0]
    found = confusion_of(arm, CLASSES)
    assert found is not None
    assert found.pairs[0] == "sneaker taken for mug: 5 of 20"
    assert len(found.pairs) == 3
    assert found.rows[0].cells[0].share == pytest.approx(0.9)
    assert confusion_of(arm, CLASSES[:2]) is None


def test_figures_are_written_for_people() -> None:
    assert percent(0.8234) == "82.3%"
    assert percent(None) == percent(math.nan) == percent(True) == "–"
    assert points(0.042) == "+4.2"
    assert points(-0.042) == "\N{MINUS SIGN}4.2"
    assert [duration(one) for one in (0.42, 59.7, 412.6, 3660)] == [
        *("0.4 s", "60 s", "6 min 53 s", "1 h 1 min"),
    ]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_page_is_never_wider_than_the_screen(text: str, tmp_path: Path) -> None:
    widths = (390, 820, 1440)
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px" srcdoc="{html.escape(text)}"></iframe>'
        for width in widths
    )
    page = tmp_path / "frames.html"
    page.write_text(
        f"{frames}<script>onload = () => {{"
        "const roots = [...document.querySelectorAll('iframe')]"
        ".map(frame => frame.contentDocument.documentElement);"
        "document.title = roots.map(root => root.scrollWidth - root.clientWidth).join();"
        "document.body.replaceChildren(); }</script>",
        encoding="utf-8",
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--virtual-time-budget=5000", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", f"file://{page}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    assert title[1] == ",".join("0" for _ in widths)
