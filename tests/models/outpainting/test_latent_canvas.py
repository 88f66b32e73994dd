"""Geometry, joints and the seam metric of outpainting, on drawn canvases without a network."""

import numpy as np
import pytest

from models.compositing.backgrounds.scene import procedural_plate
from models.outpainting.extend_scene import ExtendedScene, grid_offsets, seam_contrast
from models.outpainting.latent_canvas import (
    CELL,
    Move,
    inpaint_mask,
    paste_back,
    placed,
    seam_step,
    whole_cells,
)

WIDTH, HEIGHT = 144, 192
MOVES = [(16, 0), (-16, 0), (0, 24), (0, -24), (16, 24), (-16, 24), (16, -24), (-16, -24)]


def scene(name="on a tiled floor", size=(WIDTH, HEIGHT), box=(52, 80, 40, 40)):
    pixels = procedural_plate(name, size, np.random.default_rng(3)).pixels
    rgba = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    x, y, width, height = box
    rgba[y : y + height, x : x + width] = (255, 0, 255, 255)
    return rgba


def decoded(rgba, move, tint=(20, 12, -8), noise=3.0):
    """What a network might draw: the scene's continuation in a false tint, known px not kept."""
    reach = max(abs(move.by[0]) / move.size[0], abs(move.by[1]) / move.size[1])
    extended = ExtendedScene(rgba, reach, np.random.default_rng(1))
    share = (move.by[0] / move.size[0], move.by[1] / move.size[1])
    drawn = extended.shift(*share)[..., :3] + np.asarray(tint)
    drawn = drawn + np.random.default_rng(2).normal(0, noise, drawn.shape)
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def hard(drawn, rgba, move):
    image = drawn.copy()
    image[move.known] = rgba[..., :3][move.source]
    return image


def away_from_seam(move, feather):
    inside = np.zeros((move.size[1], move.size[0]), bool)
    rows, columns = move.known
    inside[
        rows.start + (feather if move.by[1] > 0 else 0) : rows.stop
        - (feather if move.by[1] < 0 else 0),
        columns.start + (feather if move.by[0] > 0 else 0) : columns.stop
        - (feather if move.by[0] < 0 else 0),
    ] = True
    return inside


@pytest.mark.parametrize("share", [*grid_offsets(3, 0.15), *grid_offsets(2, 0.12)])
def test_a_scene_moves_as_the_classical_one_does_up_to_half_a_cell(share):
    rgba = scene()
    exact = ExtendedScene(rgba, 0.15, np.random.default_rng(0)).offset(*share)
    by = whole_cells(share, 0.15, rgba)
    for axis in (0, 1):
        assert by[axis] % CELL == 0
        assert abs(by[axis] - exact[axis]) <= CELL // 2
        assert by[axis] * exact[axis] >= 0, "the same direction"


@pytest.mark.parametrize(
    ("box", "held"), [((0, 80, 40, 40), 0), ((104, 80, 40, 40), 0), ((52, 0, 40, 40), 1)]
)
def test_an_object_at_an_edge_stays_there(box, held):
    for share in grid_offsets(2, 0.15):
        assert whole_cells(share, 0.15, scene(box=box))[held] == 0


def test_an_object_near_an_edge_stays_whole():
    rgba = scene(box=(11, 80, 40, 40))
    count = np.count_nonzero(rgba[..., 3])
    for share in grid_offsets(3, 0.15):
        by = whole_cells(share, 0.15, rgba)
        assert by[0] >= -8
        assert np.count_nonzero(placed(rgba, Move((WIDTH, HEIGHT), by))[..., 3]) == count


@pytest.mark.parametrize("by", [(4, 0), (0, -13), (80, 0), (0, 104)])
def test_a_wrong_move_is_named(by):
    name = "x" if by[0] else "y"
    with pytest.raises(ValueError, match=rf"shift {name} is .* px .*; give a multiple of 8"):
        Move((WIDTH, HEIGHT), by)


@pytest.mark.parametrize("by", MOVES)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (141, 187), (137, 190)])
def test_generated_cells_cover_the_border_and_one_cell_beside_it(by, size):
    move = Move(size, by)
    unknown = np.ones((size[1], size[0]), bool)
    unknown[move.known] = False
    grid = np.zeros((move.cells[0] * CELL, move.cells[1] * CELL), bool)
    grid[: size[1], : size[0]] = unknown
    border = grid.reshape(move.cells[0], CELL, move.cells[1], CELL).any(axis=(1, 3))
    cells = inpaint_mask(move)
    assert cells[border].all()
    near = np.zeros_like(border)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            padded = np.pad(border, 1)
            near |= padded[1 + dy : 1 + dy + near.shape[0], 1 + dx : 1 + dx + near.shape[1]]
    np.testing.assert_array_equal(cells, near)


@pytest.mark.parametrize("by", MOVES)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (141, 187)])
def test_cells_move_with_the_pixels(by, size):
    """A grid of the scene's cell numbers, moved as cells and as px, is the same where known."""
    move = Move(size, by)
    rows, columns = move.cells
    numbers = np.arange(1, rows * columns + 1).reshape(rows, columns)
    moved = np.zeros_like(numbers)
    moved[move.known_cells] = numbers[move.source_cells]
    pixels = numbers.repeat(CELL, 0).repeat(CELL, 1)[: size[1], : size[0]]
    by_pixels = np.zeros_like(pixels)
    by_pixels[move.known] = pixels[move.source]
    by_cells = moved.repeat(CELL, 0).repeat(CELL, 1)[: size[1], : size[0]]
    np.testing.assert_array_equal(by_cells[by_cells > 0], by_pixels[by_cells > 0])
    whole = ~inpaint_mask(move).repeat(CELL, 0).repeat(CELL, 1)[: size[1], : size[0]]
    assert (by_cells[whole] > 0).all(), "every cell that is kept has its latents"


def test_cells_of_the_object_are_not_drawn_over():
    rgba = scene(box=(2, 80, 40, 40))
    move = Move((WIDTH, HEIGHT), (16, 0))
    cells = inpaint_mask(move, rgba[..., 3])
    assert cells[0, 2]
    assert not cells[11, 2], "the object stands in this cell beside the seam"
    assert cells[:, :2].all(), "the border itself is always drawn"


@pytest.mark.parametrize("by", MOVES)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (141, 187)])
@pytest.mark.parametrize("feather", [0, 7, 16])
def test_known_pixels_are_exact_outside_the_feather(by, size, feather):
    rgba = scene(size=size)
    move = Move(size, by)
    result = paste_back(decoded(rgba, move), rgba, move, feather)
    moved = placed(rgba, move)
    exact = away_from_seam(move, feather) | (moved[..., 3] == 255)
    assert result.shape == rgba.shape
    np.testing.assert_array_equal(result[exact], moved[exact])
    np.testing.assert_array_equal(result[..., 3], moved[..., 3], "the matte moves along")


def test_an_unmoved_scene_is_itself():
    rgba = scene()
    still = Move((WIDTH, HEIGHT), (0, 0))
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    np.testing.assert_array_equal(paste_back(noise, rgba, still, 16), rgba)
    assert not inpaint_mask(still).any()
    assert seam_step(rgba, still) == 0


@pytest.mark.parametrize("by", MOVES)
@pytest.mark.parametrize("name", ["on a tiled floor", "in a studio"])
def test_a_border_in_a_false_tint_shows_no_seam(by, name):
    """Pasted back over a feather and with its colours matched, against pasted hard, and against the
    decoded canvas, which has no seam but other known px."""
    rgba = scene(name)
    move = Move((WIDTH, HEIGHT), by)
    drawn, true = decoded(rgba, move), decoded(rgba, move, tint=(0, 0, 0), noise=0)
    joined, pasted = paste_back(drawn, rgba, move, 16)[..., :3], hard(drawn, rgba, move)
    assert seam_step(joined, move) < seam_step(true, move) + 0.1
    assert seam_step(pasted, move) > seam_step(true, move) + 0.3
    assert seam_contrast(joined, *by) < 1.1
    assert seam_contrast(pasted, *by) > 1.5
    exact = away_from_seam(move, 16)
    shift = np.abs(drawn.astype(int) - placed(rgba, move)[..., :3])[exact].mean()
    assert shift > 5, "raw, the known region has drifted"


@pytest.mark.parametrize("by", MOVES)
def test_the_border_gets_the_scenes_colours(by):
    rgba = scene("on concrete")
    move = Move((WIDTH, HEIGHT), by)
    border = np.ones((HEIGHT, WIDTH), bool)
    border[move.known] = False
    true = decoded(rgba, move, tint=(0, 0, 0))[border].mean(axis=0)
    false = decoded(rgba, move)[border].mean(axis=0)
    matched = paste_back(decoded(rgba, move), rgba, move, 16)[border][:, :3].mean(axis=0)
    assert np.abs(false - true).max() > 8
    assert np.abs(matched - true).max() < 2.5


def test_colours_of_the_object_do_not_tint_the_border():
    rgba = np.full((HEIGHT, WIDTH, 4), (120, 120, 120, 0), np.uint8)
    rgba[60:140, 4:64] = (255, 0, 255, 255)
    drawn = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    result = paste_back(drawn, rgba, Move((WIDTH, HEIGHT), (24, 0)), 16)
    np.testing.assert_array_equal(result[:, :24, :3], drawn[:, :24])


def test_the_metric_sees_seams_and_only_seams():
    rgba = scene("on concrete", box=(0, 0, 0, 0))
    move = Move((WIDTH, HEIGHT), (24, -16))
    assert seam_step(rgba, move) < 2.0
    stepped = rgba.copy()
    stepped[:, :24, :3] = np.clip(stepped[:, :24, :3].astype(int) + 40, 0, 255)
    assert seam_step(stepped, move) > 4.0
    ramp = rgba.astype(float)
    ramp[..., :3] += np.linspace(0, 40, WIDTH)[None, :, None]
    assert seam_step(np.clip(ramp, 0, 255).astype(np.uint8), move) < 2.0
