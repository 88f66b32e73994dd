"""The dataset card: a head that the hub reads, tables that hold, and names that stay text."""

import re
from typing import Any

import pytest
import yaml

from models.reporting.dataset_card import card_head, escape_markdown, render_card
from tests.models.reporting.report_case import make_metrics

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
def card() -> str:
    return render_card(make_metrics())


def test_head_declares_every_dataset_with_its_splits(card: str) -> None:
    head = _head(card)
    assert head["license"] == "other"
    assert "synthetic" in head["tags"]
    assert head["size_categories"] == ["n<1K"]
    assert head["task_categories"][0] == "image-classification"
    assert [config["config_name"] for config in head["configs"]] == ["real", "synthetic", "mixed"]
    assert head["configs"][2]["data_files"] == [
        {"split": "train", "path": "datasets/mixed/train/**"},
        {"split": "validation", "path": "datasets/mixed/val/**"},
        {"split": "test", "path": "datasets/test/**"},
    ]


def test_the_dataset_of_the_verdict_is_the_default() -> None:
    metrics = make_metrics(seeds=1)
    for winner, expected in (("mixed", "mixed"), ("real", "real"), (None, "real"), ("x", "real")):
        metrics["verdict"]["winner"] = winner
        configs = card_head(metrics)["configs"]
        assert [one["config_name"] for one in configs if one.get("default")] == [expected]
        assert f'load_dataset("path/to/this/folder", "{expected}")' in render_card(metrics)


@pytest.mark.parametrize(
    ("per_class", "size"), [(200, "1K<n<10K"), (9_000, "10K<n<100K"), (900_000, "1M<n<10M")]
)
def test_size_category_counts_every_image(per_class: int, size: str) -> None:
    metrics = make_metrics(seeds=1)
    for arm in metrics["datasets"].values():
        arm["train"] = dict.fromkeys(metrics["classes"], per_class)
    assert card_head(metrics)["size_categories"] == [size]


def test_empty_splits_are_not_declared() -> None:
    metrics = make_metrics(seeds=1)
    metrics["datasets"]["real"]["val"] = {}
    metrics["photos"].pop("test")
    files = card_head(metrics)["configs"][0]["data_files"]
    assert [one["split"] for one in files] == ["train"]


def test_card_tells_the_verdict_scores_and_arithmetic(card: str) -> None:
    metrics = make_metrics()
    assert metrics["verdict"]["text"].split(". ")[0] in card
    assert "7 views × 2 augmentations × 2 backgrounds × 4 placements = 112 images per photo" in card
    accuracy = metrics["datasets"]["mixed"]["test"]["accuracy"]
    assert f"{accuracy * 100:.1f}%" in card
    assert "| object too small | 17 |" in card
    assert yaml.safe_load(card.split("```yaml\n")[1].split("```")[0]) == metrics["recipe"]
    assert card.endswith("\n")


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
    metrics = make_metrics((HOSTILE, "mug"), seeds=1)
    metrics["name"] = metrics["notes"][0] = HOSTILE
    metrics["models"] = [{"stage": HOSTILE, "model": HOSTILE, "licence": HOSTILE}]
    metrics["recipe"]["name"] = "```\n<script>alert(2)</script>"
    text = render_card(metrics)
    assert _head(text)["pretty_name"] == HOSTILE
    body = text.split("---\n", 2)[2]
    fence = re.search(r"^(`{3,})yaml$", body, flags=re.MULTILINE)
    assert fence is not None
    assert len(fence[1]) > 3
    outside = body.split(fence[0])[0] + body.split(f"\n{fence[1]}\n")[-1]
    assert "<script>" not in outside
    assert escape_markdown(HOSTILE) in outside


def test_a_run_without_anything_still_gives_a_card() -> None:
    text = render_card({})
    assert "configs" not in _head(text)
    assert "No dataset has been built yet." in text
    assert not re.search(r"\b(None|nan|Undefined)\b", text)


@pytest.mark.parametrize("missing", sorted(make_metrics(seeds=1)))
def test_any_part_of_the_metrics_may_be_missing(missing: str) -> None:
    metrics = make_metrics(seeds=1)
    del metrics[missing]
    text = render_card(metrics)
    assert _head(text)["license"] == "other"
    assert not re.search(r"\b(None|nan|Undefined)\b", text)


def test_markdown_is_escaped_on_one_line() -> None:
    assert escape_markdown("a|b\n<i> & *x*") == r"a\|b &lt;i&gt; &amp; \*x\*"
