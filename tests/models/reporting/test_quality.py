"""The section on quality: sentence, tables with n and caveats, a figure, pairs of pictures."""

from dataclasses import replace

import pytest

from models.quality.records import QualityMetrics
from models.reporting.figures import NEAREST_PHOTOS, draw_figures
from models.reporting.input import ReportInput, Thumb
from models.reporting.page import render_report
from models.reporting.plots.quality import describe_nearest, draw_nearest
from models.reporting.quality import describe_quality, quality_labels, quality_tables
from tests.models.quality.test_measure import copies, measured, photos
from tests.models.reporting.report_case import change, draw_scene, make_empty_metrics


@pytest.fixture(scope="module")
def quality() -> QualityMetrics:
    real = photos(20)
    return measured([*real, *copies(real, 2, 0.1)])


def make_page(quality: QualityMetrics) -> str:
    metrics = change(make_empty_metrics(), quality=quality)
    thumbs = Thumb(draw_scene(1, 32, 32), "mug/a_1", "copies"), Thumb(draw_scene(2, 32, 32))
    return render_report(
        ReportInput("Run", metrics, tuple(draw_figures(metrics)), near_pairs=(thumbs,))
    )


def test_the_page_names_the_features_and_prints_n_and_caveats(quality: QualityMetrics) -> None:
    page = make_page(quality)
    assert "KID on made up features" in page
    assert "compared with published KID" in page
    assert "80 / 80" in page
    assert 'figure-nearest-photos-title"' in page
    assert page.count("data:image/jpeg") == 2
    assert "The same figures for each class" in page


def test_a_page_without_the_figures_has_no_section() -> None:
    page = render_report(ReportInput("Run", make_empty_metrics()))
    assert "Quality of the images" not in page


def test_the_sentence_compares_the_generator_with_real_photos(quality: QualityMetrics) -> None:
    text = describe_quality(quality)
    assert text.startswith("Images of copies are about as far from held-out photos as real train")
    assert "Images of one photo differ by" in text
    assert "The image nearest to a test photo is at distance" in text


def test_the_sentence_says_which_images_are_too_few() -> None:
    few = photos(5)
    text = describe_quality(measured([*few, *copies(few, 1, 0.1)]))
    assert text.startswith("Too few images for KID and coverage: 10 of copies, 20 held-out photos.")


def test_photos_alone_are_compared_with_nothing() -> None:
    assert describe_quality(measured(photos(20))).startswith("No generator made images")


def test_tables_of_a_class_hold_that_class_alone(quality: QualityMetrics) -> None:
    assert quality_labels(quality) == ["mug", "shoe"]
    (compared, differ, near) = quality_tables(quality, "mug")
    assert compared.rows[0][:3] == ("real train (yardstick)", "real held-out", "20 / 40")
    assert differ.rows[-1][:4] == ("copies", "of one photo", "20", "40")
    assert len(near.rows) == 7


def test_a_figure_that_is_left_out_is_a_dash_with_its_reason() -> None:
    few = photos(5)
    (table, *_) = quality_tables(measured([*few, *copies(few, 1, 0.1)]))
    assert table.rows[1][3:] == ("–", "–", "–", "–")
    assert "need 20 images in either set" in table.caveats[-1]


def test_the_figure_has_a_panel_per_split_and_the_same_bytes_again(quality: QualityMetrics) -> None:
    (figure,) = draw_figures(change(make_empty_metrics(), quality=quality))
    assert figure.name == NEAREST_PHOTOS
    assert figure.svg == draw_nearest(quality)
    for split in ("train", "val", "test"):
        assert f"to real {split} (n = 40)".encode() in figure.svg
    assert "copies to real test: 1% below" in describe_nearest(quality)
    with pytest.raises(ValueError, match="at least one distribution"):
        draw_nearest(quality.model_copy(update={"nearest": ()}))


def test_names_of_classes_are_escaped(quality: QualityMetrics) -> None:
    pairs = [replace(photo, label=photo.label.replace("mug", "<b>")) for photo in photos(20)]
    assert (
        "<b>" not in make_page(measured(pairs)).partition('id="quality"')[2].partition("Nearest")[0]
    )
