"""What the docs say of other libraries is tried with these libraries."""

import json
from pathlib import Path

import pytest

from models.data.find_photos import find_photos
from models.reporting.dataset_card import render_card
from tasks.export.formats import export_dataset
from tests.cases.scripts import write_case
from tests.models.reporting.report_case import make_metrics
from tests.readers import indices_of_datasets, indices_of_timm, indices_of_torchvision, listed
from tests.tiny import Undisturbed


def test_the_card_states_the_order_of_numbered_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_case("11_numbered_classes", tmp_path / "photos", monkeypatch)
    labels = sorted({photo.label for photo in find_photos(folder)[0]})
    assert labels[:4] == ["1", "10", "11", "12"]
    card = render_card(make_metrics(tuple(labels), seeds=1))
    rows = [line.split("|") for line in card.splitlines() if line.startswith("| ")]
    indices = {cells[2].strip(): cells[1].strip() for cells in rows if cells[1].strip().isdigit()}
    assert indices == {label: str(index) for index, label in enumerate(labels)}


@pytest.mark.slow
def test_datasets_reads_every_dataset_of_a_run(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The script 15_load_dataset_fails.py reads a layout that no run writes any more."""
    out = undisturbed.out
    classes = (out / "classes.txt").read_text().splitlines()
    metrics = json.loads((out / "metrics.json").read_bytes())
    for name, dataset in metrics["datasets"].items():
        read = indices_of_datasets(out, name)
        counts = {split: len(rows) for split, rows in read.items()}
        assert counts["train"] == sum(dataset["train"].values())
        assert counts["val"] == sum(dataset["val"].values())
        assert counts["test"] == sum(metrics["photos"]["test"].values())
        for split in ("train", "val", "test"):
            folder = out / "datasets" / ("test" if split == "test" else f"{name}/{split}")
            expected = listed(folder, classes)
            assert read[split] == expected
            assert indices_of_torchvision(folder) == expected
            assert indices_of_timm(folder, out / "classes.txt") == expected


@pytest.mark.slow
def test_datasets_reads_boxes_and_masks_of_an_export(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    from datasets import load_dataset

    counts = export_dataset(undisturbed.out, "synthetic", tmp_path / "to", "huggingface")
    splits = load_dataset(str(tmp_path / "to"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in splits.items()} == {
        {"val": "validation"}.get(split, split): number for split, number in counts.items()
    }
    for row in splits["train"]:
        (item,) = json.loads(row["objects"])
        assert item["label"] == row["label"]
        assert len(item["bbox"]) == 4
        assert item["segmentation"]["size"] == [row["image"].height, row["image"].width]
