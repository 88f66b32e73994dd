"""Pictures of placements before anything is painted, from the recipe of a run."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.config.recipe import load_recipe
from flows.show_placements import show_placements
from tests.tasks.ingest.test_annotated import draw_images, write_set

_RECIPE = """\
ingest: {objects: scene, min_side: 8}
split: {compare_pictures: false}
regions: left.png
generators:
  copy_paste: {classes: [disc], scenes: {placing: {versions: 2}}}
train: null
"""


def test_pictures_are_written_and_photos_without_a_place_are_named(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "drawn", [["disc", "block"]] * 6)
    splits = {"train": images[:3], "val": images[3:4], "test": images[4:]}
    write_set(tmp_path / "photos", "coco", splits)
    mask = np.zeros((10, 10), np.uint8)
    mask[:, :9] = 255
    cv2.imwrite(str(tmp_path / "left.png"), mask)
    (tmp_path / "tiny.yaml").write_text(_RECIPE)
    recipe, out = load_recipe(tmp_path / "tiny.yaml"), tmp_path / "out"
    shown = show_placements(recipe, tmp_path / "photos", out, str(out / "store"), 2)
    found = sorted((out / "placements" / "copy_paste" / "disc").glob("*.jpg"))
    assert len(found) == len(shown.pictures) >= 2
    assert len(shown.pictures) + len(shown.without) == 4
    assert str(out / "placements") in shown.text()

    (tmp_path / "left.png").unlink()
    cv2.imwrite(str(tmp_path / "left.png"), np.eye(10, dtype=np.uint8) * 255)
    shown = show_placements(recipe, tmp_path / "photos", out, str(out / "store"), 2)
    assert shown.pictures == ()
    assert "no free place" in shown.text()


def test_a_recipe_that_paints_into_no_photo_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe("demo")
    with pytest.raises(ValueError, match="generators: none places objects in photos"):
        show_placements(recipe, tmp_path, tmp_path / "out", str(tmp_path / "store"), 2)
