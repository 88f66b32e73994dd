"""A whole run on a small COCO set with masks: every object is a photo of its own."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from models.evaluation.prediction_file.table import read_predictions
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.tiny import RECIPE, Cli


@pytest.mark.slow
def test_run_on_a_coco_set_crops_its_objects_and_finishes(cli: Cli, tmp_path: Path) -> None:
    images = draw_images(tmp_path / "drawn", [["disc", "block"]] * 6)
    splits = {"train": images[:3], "val": images[3:4], "test": images[4:]}
    write_set(tmp_path / "photos", "coco", splits)
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "out"
    recipe.write_text(RECIPE)
    arguments = ("run", recipe, "--photos", tmp_path / "photos", "--out", out, "--json")
    summary = cli.run(*arguments).found
    assert Path(summary["report"]).is_file()
    assert summary["stages"]["crop"]["computed"] == 12
    real = json.loads((out / "annotations" / "real" / "train.json").read_bytes())
    assert Counter(image["label"] for image in real["images"]) == {"disc": 3, "block": 3}
    assert all(entry["segmentation"] and entry["bbox"] for entry in real["annotations"])
    for image in real["images"]:
        (mask,) = image["masks"]
        assert Image.open(out / mask).size == (image["width"], image["height"])
    again = cli.run(*arguments).found
    assert {stage: found["computed"] for stage, found in again["stages"].items()} == dict.fromkeys(
        again["stages"], 0
    )


def test_segmentation_is_trained_scored_and_shown(cli: Cli, tmp_path: Path) -> None:
    images = draw_images(tmp_path / "drawn", [["disc", "block"]] * 6)
    splits = {"train": images[:3], "val": images[3:4], "test": images[4:]}
    write_set(tmp_path / "photos", "coco", splits)
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "out"
    recipe.write_text(RECIPE)
    changes = {
        "train": "{task: segmentation, image_size: 64, epochs: 1, steps_per_epoch: 2, "
        "batch_size: 4, seeds: [0], loggers: []}",
        "references_per_class": "1",
    }
    settings = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    arguments = ("run", recipe, "--photos", tmp_path / "photos", "--out", out, "--json", *settings)
    summary = cli.run(*arguments).found
    metrics = json.loads((out / "metrics.json").read_bytes())
    assert summary["verdict"]["metric"] == "miou"
    assert metrics["stages"]["ground_truth"]["computed"] == len(metrics["datasets"]) + 1
    (name, *_) = metrics["datasets"]
    test = metrics["datasets"][name]["test"]
    assert list(test["per_class"]) == ["background", "block", "disc"]
    datasets, _ = read_predictions(out / "predictions.parquet")
    found = next(dataset for dataset in datasets if dataset.name == name)
    assert found.values("miou").mean() == pytest.approx(test["miou"])
    page = (out / "report.html").read_text()
    assert "Predicted masks" in page
    assert "Jaccard index of each class" in page
    compared = (*arguments[:5], tmp_path / "study", "--store", out / "store", *arguments[6:])
    grid = ("--photos-per-class", "all", "--shares", "1", "--seeds", "1")
    result = cli.run("study", *compared[1:], *grid).found
    rows = pq.read_table(result["files"]["table"]).to_pylist()
    assert {row["figure"] for row in rows} == {"miou"}
    # RandAugment moves no masks, so that it is no baseline.
    assert list(dict.fromkeys(row["method"] for row in rows)) == [
        *("photos alone, flip", "photos alone", "photos alone, crop", "multiview")
    ]
