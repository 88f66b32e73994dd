"""Copy-paste alone, from an annotated set to datasets: labels, blendings, counts and the report."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flows.config.recipe import load_recipe
from flows.generators.catalog import find_generator
from flows.planning import plan_generator
from models.data.formats.polygons import decode_runs
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.tiny import Cli

RECIPE = """\
generators:
  copy_paste:
    cut_outs: {longest_side: 64, min_side: 4, clean_edge: false}
    backdrops: {count: 3}
    scenes:
      {width: 80, height: 64, per_photo: 3, blends: 2, min_objects: 2, max_objects: 3,
       one_class_share: 0.5, max_distractors: 1}
screen:
  {min_contrast: 0, min_sharpness: 0, min_object: 0, max_object: 1, max_cut: 1,
   sibling_bits: 0, heldout_bits: 0}
resize: {longest_side: 64}
split: {compare_pictures: false}
datasets:
  - {name: real, real: 1.0}
  - {name: hybrid, real: all, synthetic: {copy_paste: all}}
train: null
quality: null
"""


@pytest.mark.slow
def test_one_run_labels_scenes_for_classification_segmentation_and_detection(
    cli: Cli, tmp_path: Path
) -> None:
    images = draw_images(tmp_path / "drawn", [["disc", "block"]] * 6)
    splits = {"train": images[:3], "val": images[3:4], "test": images[4:]}
    write_set(tmp_path / "photos", "coco", splits)
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "out"
    recipe.write_text(RECIPE)
    summary = cli.run("run", recipe, "--photos", tmp_path / "photos", "--out", out, "--json").found
    # 3 photos of 2 classes, 3 scenes, 2 blendings.
    assert summary["stages"]["compose_scenes"]["computed"] == 36
    assert summary["stages"]["cut_out"]["computed"] == 6
    assert summary["stages"]["backdrop"]["computed"] == 3
    content = json.loads((out / "annotations" / "hybrid" / "train.json").read_bytes())
    scenes = {e["id"]: e for e in content["images"] if e["generator"] == "copy_paste"}
    assert len(scenes) == 36
    objects = [e for e in content["annotations"] if e["image_id"] in scenes]
    assert set(Counter(e["image_id"] for e in objects).values()) <= {1, 2, 3}
    for entry in objects:
        height, width = entry["segmentation"]["size"]
        mask = decode_runs(entry["segmentation"]["counts"], height, width)
        rows, columns = np.nonzero(mask)
        x, y, w, h = entry["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + w - 1, y + h - 1) == (columns.max(), rows.max())
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    labels: dict[int, set[str]] = {image: set() for image in scenes}
    for entry in objects:
        labels[entry["image_id"]].add(names[entry["category_id"]])
    mixed = {image for image, found in labels.items() if len(found) > 1}
    assert 0 < len(mixed) < 36
    for image, entry in scenes.items():
        # An image of several classes counts in that of its photo.
        assert entry["label"] in labels[image]
        assert entry["sample"].startswith(f"{entry['label']}/")
        assert entry["sources"]
    assert "scenes of pasted objects" in Path(summary["report"]).read_text()


def test_the_plan_counts_scenes_and_versions(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    recipe = load_recipe(path)
    settings = recipe.generators["copy_paste"]
    planned, images = plan_generator(
        find_generator("copy_paste"), settings, 6, 2, recipe.resize, share=0.5
    )
    assert images == 3 * 3 * 2
    assert planned.stages["compose_scenes"].artifacts == images
    assert planned.stages["cut_out"].artifacts == 6


def test_datasets_of_one_class_need_no_images_of_the_others() -> None:
    recipe = load_recipe("demo", ["generators={copy_paste: {classes: [mug]}}"])
    assert "synthetic" not in [spec.name for spec in recipe.dataset_specs]
    assert {spec.dataset for spec in recipe.training_specs} <= {
        spec.name for spec in recipe.dataset_specs
    }
