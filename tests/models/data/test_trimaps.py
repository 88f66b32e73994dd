"""Trimaps: what counts as object, and the border that a mask gets."""

import numpy as np

from models.data.trimaps import add_border, as_trimap, solid_mask


def test_a_trimap_keeps_its_border_and_a_soft_edge_gets_none() -> None:
    trimap = np.array([[0, 128, 255]], np.uint8)
    assert as_trimap(trimap).tolist() == [[0, 128, 255]]
    assert as_trimap(np.array([[0, 100, 128, 255]], np.uint8)).tolist() == [[0, 0, 255, 255]]


def test_the_outline_runs_in_the_middle_of_the_border() -> None:
    row = np.array([0] * 10 + [128] * 6 + [255] * 4, np.uint8)
    solid = solid_mask(np.tile(row, (20, 1)))
    assert np.flatnonzero(solid[10]).tolist() == list(range(13, 20))
    assert solid_mask(np.array([[0, 127, 128, 200]], np.uint8)).tolist() == [
        [False] * 2 + [True] * 2
    ]


def test_a_border_lies_on_both_sides_of_the_outline_and_can_be_taken_back() -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[20:40, 15:45] = True
    trimap = add_border(mask, 6)
    assert trimap[30].tolist() == [0] * 12 + [128] * 6 + [255] * 24 + [128] * 6 + [0] * 12
    assert (solid_mask(trimap) != mask).sum() <= 8, "only corners may differ"
    assert not (add_border(mask, 0) == 128).any()


def test_a_thin_object_keeps_a_core_and_the_frame_is_no_outline() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[:, 19:22] = True
    trimap = add_border(mask, 12)
    assert (trimap[:, 20] == 255).all()
    assert (trimap[20, [19, 21, 15, 25]] == 128).all()
    assert (add_border(np.ones((8, 8), np.bool_), 4) == 255).all()
