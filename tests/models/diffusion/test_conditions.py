"""Edges and colour maps that a ControlNet follows."""

import numpy as np

from models.diffusion.conditions import colour_map, edge_map

RED, GREY, BLACK = (255, 0, 0), (9, 9, 9), (0, 0, 0)


def test_edges_are_white_where_the_photo_has_a_step() -> None:
    photo = np.full((64, 64, 3), 40, np.uint8)
    photo[:, 32:] = 60
    photo[40:, :] = 240
    edges = edge_map(photo, 100, 200)
    assert set(np.unique(edges)) == {0, 255}
    assert (edges[..., 0] == edges[..., 2]).all()
    assert edges[38:42, 5:60].max(axis=0).min() == 255
    assert not edges[5:30].any(), "the weak step is below both thresholds"
    assert edge_map(photo, 20, 60)[5:30, 30:34].any()


def test_objects_and_borders_get_their_colours() -> None:
    first = np.array([[255, 128, 0, 0]], np.uint8)
    second = np.array([[0, 255, 255, 0]], np.uint8)
    painted = colour_map([first, second], RED, GREY, BLACK)
    assert painted[0].tolist() == [list(RED), list(RED), list(RED), list(BLACK)]
    assert colour_map([first], RED, GREY, BLACK)[0, 1].tolist() == list(GREY)
