"""Masks of datasets: trimaps keep their border, and objects have keys of their own."""

from pathlib import Path

import numpy as np

from models.data.formats.polygons import encode_mask
from tasks.assemble.annotate import Annotate, annotate
from tasks.engine.run_context import RunContext
from tasks.store.store import open_store
from tests.tasks.assemble.cases import stored_image


def test_a_trimap_keeps_its_border(tmp_path: Path) -> None:
    trimap = np.zeros((80, 60), np.uint8)
    trimap[20:60, 10:50] = 128
    trimap[30:50, 20:40] = 255
    run = RunContext(open_store(str(tmp_path)), "test")
    (made,) = annotate(run, Annotate(longest_side=40), [stored_image(run.store, "cup/a", trimap)])
    mask = run.load(made)
    assert {value: int((mask == value).sum()) for value in (0, 128, 255)} == {
        0: 800,
        128: 300,
        255: 100,
    }
    assert 210 < made.metadata["area"] < 240, "half of the border counts as object"


def test_equal_images_with_other_objects_have_masks_of_their_own(tmp_path: Path) -> None:
    run = RunContext(open_store(str(tmp_path)), "test")
    image = np.zeros((20, 30, 3), np.uint8)
    areas = []
    for width in (10, 20):
        mask = np.zeros((20, 30), np.bool_)
        mask[5:15, 5 : 5 + width] = True
        objects = [{"label": "cup", "box": None, "mask": encode_mask(mask)}]
        found = stored_image(run.store, "cup/a", image).model_copy(
            update={"metadata": {"objects": objects}}
        )
        (made,) = annotate(run, Annotate(), [found])
        areas.append(made.metadata["area"])
    assert areas == [100, 200]
