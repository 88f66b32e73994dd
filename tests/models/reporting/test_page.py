"""The report page: self-contained, safe against names from the user, complete."""

import base64
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
from models.evaluation.comparison import Difference
from models.reporting.class_tables import class_tables, confusion_of
from models.reporting.contact_sheet import contact_sheet
from models.reporting.figures import draw_figures, inline_svg
from models.reporting.headline import headline_of
from models.reporting.input import Figure, Gap, ReportInput, Sheet, SheetRow, Thumb
from models.reporting.metrics import Metrics, ModelUse, RefusedFile
from models.reporting.page import render_report
from models.reporting.tables import (
    composition_rows,
    count_generated,
    duration,
    list_datasets,
    percent,
    points,
    score_rows,
)
from models.reporting.thumbnails import draw_thumb, show_thumbs
from tests.models.reporting.report_case import (
    CLASSES,
    DATASETS,
    change,
    draw_alpha,
    draw_scene,
    make_empty_metrics,
    make_metrics,
    make_report,
    make_sheet,
)

VOID = {"meta", "img", "input", "br", "link", "hr", "wbr"}
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
def metrics() -> Metrics:
    return make_metrics()


@pytest.fixture(scope="module")
def text(metrics: Metrics) -> str:
    return render_report(make_report(metrics))


def words_of(page: Page) -> str:
    """The text of a page with single spaces."""
    return " ".join(page.text.split())


def test_page_is_well_formed_and_loads_nothing_from_outside(text: str) -> None:
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
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) == {"#"}


def test_every_picture_has_words_and_every_link_a_target(text: str) -> None:
    page = Page(text)
    assert all(image["alt"] for image in page.all("img"))
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert max(ids.values()) == 1
    targets = {(link["href"] or "").removeprefix("#") for link in page.all("a")}
    targets |= {(use["href"] or "").removeprefix("#") for use in page.all("use")}
    assert targets | set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    labelled = [section["aria-labelledby"] for section in page.all("section")]
    assert set(labelled) <= set(ids)


def test_every_figure_has_a_title_and_a_description(text: str) -> None:
    page = Page(text)
    figures = page.all("svg")
    assert len(figures) == 2 + len(DATASETS)
    ids = {attributes.get("id"): tag for tag, attributes in page.tags}
    for figure in figures:
        assert figure["role"] == "img"
        title, description = (figure["aria-labelledby"] or "").split()
        assert (ids[title], ids[description]) == ("title", "desc")
    words = words_of(page)
    assert "mixed: 3 trainings, validation macro F1 of the kept epochs" in words
    assert "mixed: average precision mug" in words
    assert "6: val 0.750, 12: val 0.875" in words


def test_figures_with_the_same_ids_can_share_a_page() -> None:
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        b'viewBox="0 0 40 30"><metadata>x</metadata><defs><style>* {stroke: red}</style>'
        b'<clipPath id="c1"/></defs><g id="unused" clip-path="url(#c1)" style="fill: #1f7ac4">'
        b'<use xlink:href="#c1" fill="#fff"/></g></svg>'
    )
    both = [inline_svg(Figure(name, "a & b", "<c>", svg)) for name in ("one", "two")]
    ids = [set(re.findall(r' id="([^"]+)"', figure)) for figure in both]
    assert ids[0] == {"figure-one-c1", "figure-one-title", "figure-one-desc"}
    assert not ids[0] & ids[1]
    assert 'clip-path="url(#figure-one-c1)"' in both[0]
    assert '<use href="#figure-one-c1" fill="#fff"' in both[0]
    assert "fill: var(--t0)" in both[0]
    assert "a &amp; b" in both[0]
    assert "&lt;c&gt;" in both[0]
    assert not re.search("http|metadata|<style|xlink", both[0])


def test_sections_come_in_their_order(text: str) -> None:
    order = re.findall(r'<(?:section|header)[^>]* id="(\w+)"', text)
    assert order == [
        "verdict",
        "making",
        "sheets",
        "rejects",
        "refused",
        "datasets",
        "curves",
        "scores",
        "mistakes",
        "costs",
        "licences",
        "recipe",
    ]


def test_page_shows_the_verdict_the_arithmetic_and_the_scores(text: str, metrics: Metrics) -> None:
    words = words_of(Page(text))
    assert metrics.verdict is not None
    first = metrics.verdict.text.split(". ")[0]
    assert f"{first}." in words
    assert "images per photo" in words
    assert "15 photos, 1,680 images in all" in words
    for name in DATASETS:
        assert percent(metrics.verdict.intervals[name].value) in words
        test = metrics.datasets[name].test
        assert test is not None
        assert percent(test.accuracy) in words
    assert "6 of 112 shown" in words
    assert "near-duplicate of a sibling" in words
    assert "predicted as mug, 0.71" in words
    assert f"{CLASSES[0]}/broken.jpg" in words
    assert "outpaint:\n  k: 2" in html.unescape(text)


def test_page_says_what_datasets_use_of_photos_and_accepted_images(
    text: str, metrics: Metrics
) -> None:
    label, cells = composition_rows(metrics, list_datasets(metrics))[0]
    assert (label, cells) == (CLASSES[0], ("40 + 550", "40 + 0", "0 + 40", "20 + 20"))
    page = Page(text).text
    assert all(cell in page for cell in cells)
    assert "with 60 of the 1,650 accepted synthetic ones" in page


def test_same_run_gives_the_same_page(text: str) -> None:
    assert render_report(make_report(make_metrics())) == text


def test_metrics_survive_json(metrics: Metrics) -> None:
    assert Metrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_names_from_the_user_never_become_markup() -> None:
    metrics = make_metrics((HOSTILE, "it's & <b>", "mug"))
    assert metrics.verdict is not None
    failed = metrics.references[0].model_copy(update={"status": "failed", "reason": HOSTILE})
    metrics = change(
        metrics,
        name=HOSTILE,
        recipe={"name": HOSTILE},
        notes=(HOSTILE,),
        refused=(RefusedFile(file=HOSTILE, reason=HOSTILE),),
        references=(failed, *metrics.references[1:]),
        models=(ModelUse(stage=HOSTILE, model=HOSTILE, licence=HOSTILE, commercial=None),),
        verdict=metrics.verdict.model_copy(update={"text": HOSTILE}),
        datasets={**metrics.datasets, HOSTILE: metrics.datasets["real"]},
        runs=(*metrics.runs, metrics.runs[0].model_copy(update={"dataset": HOSTILE})),
    )
    report = make_report(metrics)
    thumb = Thumb(draw_scene(0, 32, 32), HOSTILE, HOSTILE)
    report = replace(report, title=HOSTILE, dataset_samples={HOSTILE: (thumb,)})
    page = Page(render_report(report))
    assert page.unpaired == []
    assert not page.all("script")
    assert not [name for _, tag in page.tags for name in tag if name.startswith("on")]
    assert all((image["src"] or "").startswith("data:") for image in page.all("img"))
    assert "alert(1)" in page.text


def test_a_run_without_training_gives_a_page() -> None:
    metrics = make_metrics()
    untrained = {
        name: dataset.model_copy(
            update={"seeds": 0, "test": None, "val_scores": None, "accuracy": None}
        )
        for name, dataset in metrics.datasets.items()
    }
    metrics = change(metrics, datasets=untrained, runs=(), verdict=None, comparisons=())
    page = Page(render_report(make_report(metrics)))
    assert page.unpaired == []
    assert "no classifier has been trained on them yet" in page.text
    assert not page.all("svg")
    assert not re.search(r"\b(None|nan|Undefined)\b", page.text)


def test_a_run_with_one_trained_dataset_has_scores_and_no_verdict() -> None:
    words = words_of(Page(render_report(make_report(make_metrics(datasets=("real",))))))
    assert "Only one dataset was trained on" in words
    assert "Accuracy on real test photos" in words
    assert "guessing among 3 classes (33%)" in words


def test_an_empty_run_gives_a_page() -> None:
    page = Page(render_report(ReportInput("empty", make_empty_metrics())))
    assert page.unpaired == []
    assert "No dataset has been built yet." in page.text
    assert "No image has been made yet." in page.text
    assert not re.search(r"\b(None|nan|Undefined)\b", page.text)


def test_missing_scores_are_shown_as_a_dash(metrics: Metrics) -> None:
    datasets = {}
    for name, dataset in metrics.datasets.items():
        assert dataset.test is not None
        mug = {"recall": None, "f1": None, "support": 0, "average_precision": None}
        per_class = dataset.test.per_class
        per_class = per_class | {"mug": per_class["mug"].model_copy(update=mug)}
        curves = {label: curve for label, curve in dataset.test.curves.items() if label != "mug"}
        update = {"roc_auc": None, "per_class": per_class, "curves": curves}
        test = dataset.test.model_copy(update=update)
        datasets[name] = dataset.model_copy(update={"test": test})
    page = Page(render_report(make_report(change(metrics, datasets=datasets))))
    assert not re.search(r"\b(None|nan|NaN)\b", page.text)
    assert "ROC-AUC –" in page.text


def test_a_failed_reference_is_named_at_the_top_with_its_reason(metrics: Metrics) -> None:
    update = {"status": "failed", "reason": "segment: no object was found"}
    references = list(metrics.references)
    references[2] = references[2].model_copy(update=update)
    failed = change(metrics, references=references)
    words = words_of(Page(render_report(make_report(failed))))
    assert "1 of 15 reference photos failed" in words
    assert words.index("segment: no object was found") < words.index("How the images were made")
    assert count_generated(failed).failed == 1


def test_shards_of_scenes_are_not_counted_as_photos(metrics: Metrics) -> None:
    changed = change(metrics, reference_photos=12)
    words = words_of(Page(render_report(make_report(changed))))
    assert "of 12 reference photos" in words
    assert "All 15 photos, classes and shards as a table" in words


def test_reject_counts_are_shown_without_pictures(metrics: Metrics) -> None:
    text = Page(render_report(ReportInput("run", metrics))).text
    assert "object too small" in text
    assert "17" in text


def test_datasets_take_colours_by_position() -> None:
    names = (*DATASETS, "few_shot")
    datasets = list_datasets(make_metrics(seeds=1, datasets=names))
    assert [dataset.colour for dataset in datasets] == [0, 1, 2, 3]
    figure = next(draw_figures(make_metrics(seeds=1, datasets=names)))
    svg = inline_svg(figure)
    assert all(f"var(--t{dataset.colour})" in svg for dataset in datasets)


def test_a_page_of_many_classes_and_datasets_is_well_formed() -> None:
    classes = tuple(f"breed_{index:02d}" for index in range(14))
    names = (*DATASETS, *(f"set_{index}" for index in range(3)))
    text = render_report(make_report(make_metrics(classes, seeds=1, datasets=names)))
    page = Page(text)
    assert page.unpaired == []
    # A narrow column breaks a name after its underscore.
    assert "set_<wbr>2" in text
    assert "the 12 classes with the lowest average precision; 2 more not drawn" in page.text


def test_page_of_a_demo_stays_below_eight_megabytes(metrics: Metrics) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (256, 256, 3), np.uint8) for _ in range(5)]
    row = SheetRow("noise", "", tuple(Thumb(pixels) for pixels in noise), 5)
    sheets = tuple(Sheet(f"mug/{index}", "mug", (row,) * 4) for index in range(15))
    assert len(render_report(ReportInput("large", metrics, sheets=sheets))) < 8_000_000


def test_thumbnails_share_a_budget_and_keep_their_shape() -> None:
    thumbs = [Thumb(draw_scene(seed, 600, 400)) for seed in range(4)]
    roomy, tight = show_thumbs(thumbs), show_thumbs(thumbs, budget_bytes=1)
    assert (roomy[0].width, roomy[0].height) == (160, 240)
    assert (tight[0].width, tight[0].height) == (75, 112)
    assert roomy[0].aspect == pytest.approx(2 / 3, abs=0.01)
    assert len(tight[0].source) < len(roomy[0].source)
    assert show_thumbs([]) == []


def test_alpha_is_shown_as_a_checkerboard_an_outline_or_not_at_all() -> None:
    photo, alpha = draw_scene(1, 80, 80), draw_alpha(80, 80)
    rgba = np.dstack([photo, alpha])
    checker = draw_thumb(Thumb(rgba, alpha_style="checker"), 80)
    outline = draw_thumb(Thumb(rgba, alpha_style="outline"), 80)
    hidden = draw_thumb(Thumb(rgba, alpha_style="hidden"), 80)
    assert np.array_equal(hidden, photo)
    assert np.array_equal(checker[alpha == 255], photo[alpha == 255])
    assert np.ptp(checker[alpha == 0], axis=1).max() < 16
    assert len(np.unique(checker[alpha == 0], axis=0)) == 2
    changed = (outline != photo).any(axis=2)
    assert 80 < changed.sum() < 400
    assert not changed[alpha >= 128].any()


def test_masks_are_black_and_white_and_depth_rises_in_brightness() -> None:
    alpha = draw_alpha(64, 64)
    mask = draw_thumb(Thumb(alpha > 127), 64)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(
        draw_thumb(Thumb(np.where(alpha > 127, 255, 0).astype(np.uint8)), 64), mask
    )
    depth = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None], 16, axis=0)
    brightness = draw_thumb(Thumb(depth), 64).astype(int).sum(axis=2)[0]
    assert brightness[0] < 30
    assert (np.diff(brightness[::8]) > 0).all()


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
)
def test_rejects_an_array_that_is_no_picture_by_name(pixels: Any) -> None:
    with pytest.raises(ValueError, match="thumbnail 'view 3'"):
        draw_thumb(Thumb(pixels, title="view 3"), 64)


def test_thumbnail_url_decodes_to_the_picture() -> None:
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


def test_contact_sheet_wraps_wide_rows_and_accepts_empty_ones() -> None:
    scene = Thumb(draw_scene(0, 96, 128), "a caption that is far too long for its picture to carry")
    short = contact_sheet(Sheet("a", "b", (SheetRow("s", "", (scene,) * 5, 5),)))
    many = contact_sheet(Sheet("a", "b", (SheetRow("s", "", (scene,) * 16, 16),)))
    assert many.shape[0] > short.shape[0] + 90
    assert many.shape[1] == short.shape[1]
    nothing = contact_sheet(Sheet("a", "b", (SheetRow("depth", "no picture was made", (), 0),)))
    assert nothing.shape[0] > 100


def test_cells_of_a_row_with_columns_keep_their_columns_across_gaps() -> None:
    """Two lines of three columns; every picture has the width of its column."""
    colours = (40, 90, 140)
    plain = [Thumb(np.full((60, 80, 3), colour, np.uint8)) for colour in colours]
    cells = (plain[0], Gap("no object found"), plain[1], Gap(), plain[2], plain[0])
    columns = ("view 0", "view 1", "view 2")
    row = SheetRow("depth", "", cells, 4, columns, (("prompt", "a mug"),))
    drawn = contact_sheet(Sheet("a", "b", (row,)))
    flat = (drawn == drawn[..., :1]).all(axis=2)
    lefts = [np.nonzero((drawn[..., 0] == colour) & flat)[1].min() for colour in (90, 140)]
    first = np.nonzero((drawn[..., 0] == 40) & flat)[1]
    assert lefts[0] - first.min() == 2 * (lefts[1] - first.min())
    assert first.max() > lefts[0], "the same picture again, in the last column"
    without = contact_sheet(Sheet("a", "b", (replace(row, words=()),)))
    assert drawn.shape[0] > without.shape[0]


def test_the_page_names_columns_gaps_and_prompts(metrics: Metrics) -> None:
    rejected = Thumb(draw_scene(0, 30, 40), "on grass", "shift 0", reject_reason="object too small")
    row = SheetRow(
        "background",
        "new scenes",
        (Gap("no object found"), rejected, Gap()),
        9,
        columns=("view 0", "view 1", "view 2"),
        words=(("first prompt", "(a mug)1.2 on grass"),),
    )
    sheet = Sheet("mug/photo-0", "mug", (row, row))
    page = Page(render_report(ReportInput("run", metrics, sheets=(sheet,))))
    words = words_of(page)
    assert (
        "first prompt (a mug)1.2 on grass view 0 view 1 view 2 rejected: no object found" in words
    )
    assert words.count("view 0 view 1 view 2") == 1, "the second row has the same columns"
    assert "rejected: object too small shift 0 on grass" in words
    assert "background, view 2: no picture" in words
    assert "1 of 9 shown" in words
    assert page.all("img")[0]["alt"] == "background, view 1: shift 0: on grass"


def test_headline_shows_scores_and_differences_in_words(metrics: Metrics) -> None:
    headline = headline_of(metrics, list_datasets(metrics))
    assert headline.title == "Macro F1"
    assert [bar.dataset.name for bar in headline.bars] == list(DATASETS)
    assert all(len(bar.seeds) == 3 for bar in headline.bars)
    assert metrics.verdict is not None
    comparisons = [
        _difference("mixed", 0.05, 0.01, 0.09),
        _difference("synthetic", -0.02, -0.05, 0.01),
        _difference("few_shot", -0.2, -0.3, -0.1),
    ]
    answer = metrics.verdict.model_copy(update={"text": "One. Two."})
    headline = headline_of(change(metrics, verdict=answer, comparisons=comparisons), ())
    judged = "This test set has now judged 2 recipes."
    assert (headline.sentence, headline.details) == ("One.", f"Two. {judged}")
    better, same, worse = (gap.text for gap in headline.gaps)
    assert better.startswith("mixed is 5.0 percentage points above real")
    assert same == "synthetic and real: no significant difference (95 % interval includes zero)"
    assert worse.startswith("real is 20.0 percentage points above few_shot")
    assert headline.limit == pytest.approx(0.3)


def test_only_a_lead_beyond_doubt_is_bold(metrics: Metrics) -> None:
    assert metrics.verdict is not None
    datasets = list_datasets(metrics)
    for best, expected in (("mixed", [False, False, True]), (None, [False] * 3)):
        rows = score_rows(datasets, metrics.verdict.model_copy(update={"best": best}))
        marks = {row.name: [cell.is_best for cell in row.cells] for row in rows}
        assert marks.pop("Macro F1") == expected
        assert not any(map(any, marks.values()))
    (rows,) = class_tables(datasets).values()
    assert not any(cell.is_best for row in rows for cell in row.cells)


def test_confusion_counts_are_means_over_the_trainings(metrics: Metrics) -> None:
    test = metrics.datasets["real"].test
    assert test is not None
    counts = ((18.0, 1.67, 0.33), (5.0, 15.0, 0.0), (0.0, 1.0, 19.0))
    confusion = confusion_of(test.model_copy(update={"confusion": counts}))
    assert [cell.text for cell in confusion.rows[0].cells] == ["18", "1.7", "0.3"]


def test_confusion_names_the_most_frequent_mistakes_first(metrics: Metrics) -> None:
    test = metrics.datasets["real"].test
    assert test is not None
    counts = ((18, 2, 0), (5, 15, 0), (0, 1, 19))
    confusion = confusion_of(test.model_copy(update={"confusion": counts}))
    assert confusion.mistakes[0] == "sneaker predicted as mug: 5 of 20"
    assert len(confusion.mistakes) == 3
    assert confusion.rows[0].cells[0].share == pytest.approx(0.9)


def test_figures_are_written_for_people() -> None:
    assert percent(0.8234) == "82.3%"
    assert percent(None) == percent(math.nan) == "–"
    assert points(0.042) == "+4.2"
    assert points(-0.042) == "\N{MINUS SIGN}4.2"
    times = [duration(seconds) for seconds in (0.42, 59.7, 412.6, 3660)]
    assert times == ["0.4 s", "60 s", "6 min 53 s", "1 h 1 min"]


def _difference(name: str, value: float, low: float, high: float) -> Difference:
    return Difference(
        dataset_a=name,
        dataset_b="real",
        metric="f1_macro",
        difference=value,
        low=low,
        high=high,
        level=0.95,
        standard_error=(high - low) / 4,
        degrees_of_freedom=20,
        seeds=3,
        photos=60,
        families=60,
        photo_variance=0.0002,
        seed_variance=0.0001,
    )


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
