"""A whole run on a small COCO set of whole photos: detectors are trained, scored and shown."""

import json
from pathlib import Path

import pytest

from models.evaluation.prediction_file.table import read_predictions
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.tiny import Cli

# Each split has photos of both classes, of one, and of none.
PHOTOS = [["disc", "block"], ["block"], ["disc"], []]
RECIPE = """\
generators:
  copy_paste:
    cut_outs: {longest_side: 64, min_side: 4, clean_edge: false}
    backdrops: {count: 2}
    scenes: {width: 80, height: 64, per_photo: 1, blends: 1, max_distractors: 0}
screen: {min_contrast: 0, min_sharpness: 0, min_object: 0, max_object: 1, max_cut: 1}
split: {compare_pictures: false}
datasets:
  - {name: real, real: all}
  - {name: added, real: all, synthetic: {copy_paste: all}}
train:
  {task: detection, image_size: 64, epochs: 1, steps_per_epoch: 2, batch_size: 2, seeds: [0],
   loggers: []}
quality: null
"""


def test_detectors_are_trained_scored_and_shown(cli: Cli, tmp_path: Path) -> None:
    images = draw_images(tmp_path / "drawn", PHOTOS * 3)
    splits = {"train": images[:4], "val": images[4:8], "test": images[8:]}
    write_set(tmp_path / "photos", "coco", splits)
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "out"
    recipe.write_text(RECIPE)
    arguments = ("run", recipe, "--photos", tmp_path / "photos", "--out", out, "--json")
    summary = cli.run(*arguments).found
    assert summary["verdict"]["metric"] == "map_50_95"
    metrics = json.loads((out / "metrics.json").read_bytes())
    test = metrics["datasets"]["real"]["test"]
    assert {name: row["objects"] for name, row in test["per_class"].items()} == {
        "block": 2,
        "disc": 2,
    }
    datasets, _ = read_predictions(out / "predictions.parquet")
    assert [found.name for found in datasets] == ["real", "added"]
    assert datasets[0].values("map_50").mean() == pytest.approx(test["map_50"])
    page = (out / "report.html").read_text()
    assert "Hits, misses and false alarms" in page
    assert "AP50:95 of each class" in page
