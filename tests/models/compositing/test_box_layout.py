"""Cut-outs in boxes: they fit in, keep their proportions, and the most suitable ones are taken."""

import numpy as np
import pytest

from models.compositing.box_layout import lay_out_in_boxes
from models.compositing.compose_scene import label_objects, paint_scene
from models.compositing.cut_out import CutOut, prepare_cut_out
from models.compositing.scene_settings import SceneSettings


def _solid(width: int, height: int, colour: int) -> CutOut:
    rgba = np.full((height, width, 4), 255, np.uint8)
    rgba[..., :3] = colour
    return prepare_cut_out(rgba)


def _settings(max_rotation: float) -> SceneSettings:
    return SceneSettings(max_rotation=max_rotation, brightness=0.0, colour=0.0)


def test_upright_objects_fill_their_boxes_and_stay_inside_when_rotated() -> None:
    cut_outs, box = [_solid(40, 20, 200)], (10, 30, 22, 11)
    for degrees in (0.0, 45.0):
        rng = np.random.default_rng(1)
        layout = lay_out_in_boxes(cut_outs, [box], (64, 48), _settings(degrees), rng)
        (found,) = label_objects(layout)
        x, y, width, height = found.box
        assert x >= 10
        assert y >= 30
        assert x + width <= 32
        assert y + height <= 41
        assert found.visibility == 1
        if degrees == 0:
            assert width >= 21
            assert height >= 10
        image = np.full((48, 64, 3), 50, np.uint8)
        painted = paint_scene(image, layout, "none", 1.0)
        changed = (painted != image).any(axis=-1)
        assert changed.any()
        changed[30:41, 10:32] = False
        assert not changed.any()


def test_each_box_gets_the_object_of_its_proportions() -> None:
    cut_outs = [_solid(10, 30, 1), _solid(30, 10, 2), _solid(20, 20, 3)]
    boxes = [(0, 0, 12, 12), (20, 0, 24, 8), (50, 0, 8, 24)]
    rng = np.random.default_rng(0)
    layout = lay_out_in_boxes(cut_outs, boxes, (64, 48), _settings(0.0), rng)
    assert [placed.number for placed in layout.placed] == [2, 1, 0]
    more = lay_out_in_boxes(cut_outs[:1], boxes, (64, 48), _settings(0.0), rng)
    assert [placed.number for placed in more.placed] == [0, 0, 0]


def test_boxes_without_a_cut_out_are_refused() -> None:
    with pytest.raises(ValueError, match="a scene got 0 cut-outs for 1 boxes"):
        lay_out_in_boxes([], [(0, 0, 5, 5)], (9, 9), _settings(0.0), np.random.default_rng(0))


def test_thin_objects_turn_less_so_that_they_keep_their_length() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        layout = lay_out_in_boxes(
            [_solid(60, 4, 200)], [(10, 10, 62, 6)], (96, 48), _settings(30.0), rng
        )
        (found,) = label_objects(layout)
        assert found.box[2] >= 40


def test_objects_of_two_px_keep_their_length() -> None:
    layout = lay_out_in_boxes(
        [_solid(24, 2, 200)], [(10, 10, 24, 2)], (96, 48), _settings(0.0), np.random.default_rng(1)
    )
    (found,) = label_objects(layout)
    assert found.box[2] >= 23
    assert found.box[1] >= 10
    assert found.box[1] + found.box[3] <= 12
