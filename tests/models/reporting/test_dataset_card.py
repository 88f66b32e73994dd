"""The dataset card: a head that the hub reads, tables that hold, and names that stay text."""

import re
from typing import Any

import pytest
import yaml

from models.reporting.dataset_card import card_head, escape_markdown, render_card
from models.reporting.metrics import Metrics, ModelUse
from tests.models.reporting.report_case import (
    DATASETS,
    change,
    make_empty_metrics,
    make_metrics,
)

HOSTILE = "a|b`*_ <script>alert(1)</script> [x](y)"


def _head(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    head: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return head


def _tables(card: str) -> list[list[str]]:
    """Runs of lines that begin with a bar."""
    found = re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE)
    return [table.splitlines() for table in found]


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return make_metrics()


@pytest.fixture(scope="module")
def card(metrics: Metrics) -> str:
    return render_card(metrics)


def test_head_declares_every_dataset_with_its_splits(card: str) -> None:
    head = _head(card)
    assert head["license"] == "other"
    assert "synthetic" in head["tags"]
    assert head["size_categories"] == ["n<1K"]
    assert head["task_categories"][0] == "image-classification"
    assert [config["config_name"] for config in head["configs"]] == list(DATASETS)
    assert head["configs"][2]["data_files"] == [
        {"split": "train", "path": "datasets/mixed/train/**"},
        {"split": "validation", "path": "datasets/mixed/val/**"},
        {"split": "test", "path": "datasets/test/**"},
    ]


@pytest.mark.parametrize(
    ("winner", "default"), [("mixed", "mixed"), ("real", "real"), (None, "real"), ("x", "real")]
)
def test_the_dataset_of_the_verdict_is_the_default(
    metrics: Metrics, winner: str | None, default: str
) -> None:
    assert metrics.verdict is not None
    answer = metrics.verdict.answers[0].model_copy(update={"winner": winner})
    changed = change(metrics, verdict=metrics.verdict.model_copy(update={"answers": (answer,)}))
    configs = card_head(changed)["configs"]
    assert [config["config_name"] for config in configs if config.get("default")] == [default]
    assert f'load_dataset("path/to/this/folder", "{default}")' in render_card(changed)


@pytest.mark.parametrize(
    ("per_class", "size"), [(200, "1K<n<10K"), (9_000, "10K<n<100K"), (900_000, "1M<n<10M")]
)
def test_size_category_counts_every_image(metrics: Metrics, per_class: int, size: str) -> None:
    train = dict.fromkeys(metrics.classes, per_class)
    datasets = {
        name: dataset.model_copy(update={"train": train})
        for name, dataset in metrics.datasets.items()
    }
    assert card_head(change(metrics, datasets=datasets))["size_categories"] == [size]


def test_empty_splits_are_not_declared(metrics: Metrics) -> None:
    real = metrics.datasets["real"].model_copy(update={"val": {}})
    photos = {split: counts for split, counts in metrics.photos.items() if split != "test"}
    changed = change(metrics, datasets={"real": real}, photos=photos)
    files = card_head(changed)["configs"][0]["data_files"]
    assert [file["split"] for file in files] == ["train"]


def test_card_shows_the_verdict_scores_and_arithmetic(card: str, metrics: Metrics) -> None:
    assert metrics.verdict is not None
    assert metrics.verdict.text.split(". ")[0] in card
    assert "7 views × 2 augmentations × 2 backgrounds × 4 shifts = 112 images per photo" in card
    test = metrics.datasets["mixed"].test
    assert test is not None
    assert f"{test.accuracy * 100:.1f}%" in card
    assert "| object too small | 17 |" in card
    assert yaml.safe_load(card.split("```yaml\n")[1].split("```")[0]) == metrics.recipe
    assert card.endswith("\n")


def test_card_says_how_many_accepted_images_a_dataset_uses(card: str) -> None:
    assert "| mixed | mixed images | 120 | 60 of 1,650 | 30 |" in card


def test_every_table_has_as_many_cells_in_each_row(card: str) -> None:
    hostile = render_card(make_metrics((HOSTILE, "mug", "two\nlines"), seeds=1))
    for text in (card, hostile):
        tables = _tables(text)
        assert len(tables) == 4
        for table in tables:
            bars = {len(re.findall(r"(?<!\\)\|", row)) for row in table}
            assert len(bars) == 1
            assert len(table) > 2


def test_names_from_the_user_stay_text() -> None:
    metrics = change(
        make_metrics((HOSTILE, "mug"), seeds=1),
        name=HOSTILE,
        notes=(HOSTILE,),
        models=(ModelUse(stage=HOSTILE, model=HOSTILE, licence=HOSTILE, commercial=False),),
        recipe={"name": "```\n<script>alert(2)</script>"},
    )
    text = render_card(metrics)
    assert _head(text)["pretty_name"] == HOSTILE
    body = text.split("---\n", 2)[2]
    fence = re.search(r"^(`{3,})yaml$", body, flags=re.MULTILINE)
    assert fence is not None
    assert len(fence[1]) > 3
    outside = body.split(fence[0])[0] + body.split(f"\n{fence[1]}\n")[-1]
    assert "<script>" not in outside
    assert escape_markdown(HOSTILE) in outside


def test_an_empty_run_gives_a_card() -> None:
    text = render_card(make_empty_metrics())
    assert "configs" not in _head(text)
    assert "No dataset has been built yet." in text
    assert not re.search(r"\b(None|nan|Undefined)\b", text)


def test_markdown_is_escaped_on_one_line() -> None:
    assert escape_markdown("a|b\n<i> & *x*") == r"a\|b &lt;i&gt; &amp; \*x\*"
