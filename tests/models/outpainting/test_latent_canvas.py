"""Shifts, masks, blending and the seam metric of outpainting, without a network."""

import numpy as np
import pytest

from models.compositing.backgrounds.scene import procedural_background
from models.diffusion.sd2.latents import CELL
from models.outpainting.extend_scene import ExtendedScene, grid_offsets
from models.outpainting.latent_canvas import (
    Shift,
    blend_original,
    inpaint_mask,
    round_to_cells,
    seam_step,
    shift_image,
)
from tests.models.outpainting.seams import seam_contrast

WIDTH, HEIGHT = 144, 192
OFFSETS = [(16, 0), (-16, 0), (0, 24), (0, -24), (16, 24), (-16, 24), (16, -24), (-16, -24)]


def scene(name="on a tiled floor", size=(WIDTH, HEIGHT), box=(52, 80, 40, 40)):
    pixels = procedural_background(name, size, np.random.default_rng(3)).pixels
    rgba = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    x, y, width, height = box
    rgba[y : y + height, x : x + width] = (255, 0, 255, 255)
    return rgba


def decoded(rgba, shift, tint=(20, 12, -8), noise=3.0):
    """A stand-in for a decoded canvas: the scene continued, all of it in a wrong tint."""
    max_shift = max(abs(shift.offset[0]) / shift.size[0], abs(shift.offset[1]) / shift.size[1])
    extended = ExtendedScene(rgba, max_shift, np.random.default_rng(1))
    share = (shift.offset[0] / shift.size[0], shift.offset[1] / shift.size[1])
    generated = extended.shift(*share)[..., :3] + np.asarray(tint)
    generated = generated + np.random.default_rng(2).normal(0, noise, generated.shape)
    return np.clip(np.rint(generated), 0, 255).astype(np.uint8)


def pasted_hard(generated, rgba, shift):
    image = generated.copy()
    image[shift.known] = rgba[..., :3][shift.source]
    return image


def away_from_seam(shift, feather):
    inside = np.zeros((shift.size[1], shift.size[0]), bool)
    rows, columns = shift.known
    inside[
        rows.start + (feather if shift.offset[1] > 0 else 0) : rows.stop
        - (feather if shift.offset[1] < 0 else 0),
        columns.start + (feather if shift.offset[0] > 0 else 0) : columns.stop
        - (feather if shift.offset[0] < 0 else 0),
    ] = True
    return inside


@pytest.mark.parametrize("share", [*grid_offsets(3, 0.15), *grid_offsets(2, 0.12)])
def test_offsets_are_those_of_the_classical_model_up_to_half_a_cell(share):
    rgba = scene()
    exact = ExtendedScene(rgba, 0.15, np.random.default_rng(0)).offset(*share)
    offset = round_to_cells(share, 0.15, rgba)
    for axis in (0, 1):
        assert offset[axis] % CELL == 0
        assert abs(offset[axis] - exact[axis]) <= CELL // 2
        assert offset[axis] * exact[axis] >= 0, "the direction is the same"


@pytest.mark.parametrize(
    ("box", "axis"), [((0, 80, 40, 40), 0), ((104, 80, 40, 40), 0), ((52, 0, 40, 40), 1)]
)
def test_an_object_at_an_edge_stays_there(box, axis):
    for share in grid_offsets(2, 0.15):
        assert round_to_cells(share, 0.15, scene(box=box))[axis] == 0


def test_an_object_near_an_edge_stays_whole():
    rgba = scene(box=(11, 80, 40, 40))
    count = np.count_nonzero(rgba[..., 3])
    for share in grid_offsets(3, 0.15):
        offset = round_to_cells(share, 0.15, rgba)
        assert offset[0] >= -8
        assert np.count_nonzero(shift_image(rgba, Shift((WIDTH, HEIGHT), offset))[..., 3]) == count


@pytest.mark.parametrize("offset", [(4, 0), (0, -13), (80, 0), (0, 104)])
def test_rejects_a_shift_that_is_no_multiple_of_a_cell_or_too_far(offset):
    name = "x" if offset[0] else "y"
    with pytest.raises(ValueError, match=rf"shift {name} is .* px .*; give a multiple of 8"):
        Shift((WIDTH, HEIGHT), offset)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (141, 187), (137, 190)])
def test_generated_cells_cover_the_border_and_one_cell_next_to_it(offset, size):
    shift = Shift(size, offset)
    unknown = np.ones((size[1], size[0]), bool)
    unknown[shift.known] = False
    grid = np.zeros((shift.cells[0] * CELL, shift.cells[1] * CELL), bool)
    grid[: size[1], : size[0]] = unknown
    border = grid.reshape(shift.cells[0], CELL, shift.cells[1], CELL).any(axis=(1, 3))
    cells = inpaint_mask(shift)
    assert cells[border].all()
    near = np.zeros_like(border)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            padded = np.pad(border, 1)
            near |= padded[1 + dy : 1 + dy + near.shape[0], 1 + dx : 1 + dx + near.shape[1]]
    np.testing.assert_array_equal(cells, near)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (141, 187)])
def test_cells_shift_with_the_pixels(offset, size):
    """The scene's cell numbers, shifted as cells and as px, are the same where known."""
    shift = Shift(size, offset)
    rows, columns = shift.cells
    numbers = np.arange(1, rows * columns + 1).reshape(rows, columns)
    shifted = np.zeros_like(numbers)
    shifted[shift.known_cells] = numbers[shift.source_cells]
    pixels = numbers.repeat(CELL, 0).repeat(CELL, 1)[: size[1], : size[0]]
    by_pixels = np.zeros_like(pixels)
    by_pixels[shift.known] = pixels[shift.source]
    by_cells = shifted.repeat(CELL, 0).repeat(CELL, 1)[: size[1], : size[0]]
    np.testing.assert_array_equal(by_cells[by_cells > 0], by_pixels[by_cells > 0])
    whole = ~inpaint_mask(shift).repeat(CELL, 0).repeat(CELL, 1)[: size[1], : size[0]]
    assert (by_cells[whole] > 0).all(), "every known cell has its latents"


def test_cells_of_the_object_are_not_generated():
    rgba = scene(box=(2, 80, 40, 40))
    shift = Shift((WIDTH, HEIGHT), (16, 0))
    cells = inpaint_mask(shift, rgba[..., 3])
    assert cells[0, 2]
    assert not cells[11, 2], "the object covers this cell next to the seam"
    assert cells[:, :2].all(), "the border is always generated"


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (141, 187)])
@pytest.mark.parametrize("feather", [0, 7, 16])
def test_known_pixels_are_exact_outside_the_feather(offset, size, feather):
    rgba = scene(size=size)
    shift = Shift(size, offset)
    result = blend_original(decoded(rgba, shift), rgba, shift, feather)
    shifted = shift_image(rgba, shift)
    exact = away_from_seam(shift, feather) | (shifted[..., 3] == 255)
    assert result.shape == rgba.shape
    np.testing.assert_array_equal(result[exact], shifted[exact])
    np.testing.assert_array_equal(result[..., 3], shifted[..., 3], "the alpha shifts along")


def test_a_scene_that_is_not_shifted_stays_the_same():
    rgba = scene()
    still = Shift((WIDTH, HEIGHT), (0, 0))
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    np.testing.assert_array_equal(blend_original(noise, rgba, still, 16), rgba)
    assert not inpaint_mask(still).any()
    assert seam_step(rgba, still) == 0


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", ["on a tiled floor", "in a studio"])
def test_a_border_in_a_wrong_tint_shows_no_seam(offset, name):
    """Compared with pasting without a feather, and with the decoded canvas.

    The decoded canvas has no seam but other known px.
    """
    rgba = scene(name)
    shift = Shift((WIDTH, HEIGHT), offset)
    generated, true = decoded(rgba, shift), decoded(rgba, shift, tint=(0, 0, 0), noise=0)
    blended, pasted = (
        blend_original(generated, rgba, shift, 16)[..., :3],
        pasted_hard(generated, rgba, shift),
    )
    assert seam_step(blended, shift) < seam_step(true, shift) + 0.1
    assert seam_step(pasted, shift) > seam_step(true, shift) + 0.3
    assert seam_contrast(blended, *offset) < 1.1
    assert seam_contrast(pasted, *offset) > 1.5
    exact = away_from_seam(shift, 16)
    difference = np.abs(generated.astype(int) - shift_image(rgba, shift)[..., :3])[exact].mean()
    assert difference > 5, "the known region of the decoded canvas is not exact"


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_border_gets_the_scenes_colours(offset):
    rgba = scene("on concrete")
    shift = Shift((WIDTH, HEIGHT), offset)
    border = np.ones((HEIGHT, WIDTH), bool)
    border[shift.known] = False
    expected = decoded(rgba, shift, tint=(0, 0, 0))[border].mean(axis=0)
    tinted = decoded(rgba, shift)[border].mean(axis=0)
    matched = blend_original(decoded(rgba, shift), rgba, shift, 16)[border][:, :3].mean(axis=0)
    assert np.abs(tinted - expected).max() > 8
    assert np.abs(matched - expected).max() < 2.5


def test_colours_of_the_object_do_not_tint_the_border():
    rgba = np.full((HEIGHT, WIDTH, 4), (120, 120, 120, 0), np.uint8)
    rgba[60:140, 4:64] = (255, 0, 255, 255)
    generated = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    result = blend_original(generated, rgba, Shift((WIDTH, HEIGHT), (24, 0)), 16)
    np.testing.assert_array_equal(result[:, :24, :3], generated[:, :24])


def test_the_metric_measures_seams_and_ignores_gradients():
    rgba = scene("on concrete", box=(0, 0, 0, 0))
    shift = Shift((WIDTH, HEIGHT), (24, -16))
    assert seam_step(rgba, shift) < 2.0
    stepped = rgba.copy()
    stepped[:, :24, :3] = np.clip(stepped[:, :24, :3].astype(int) + 40, 0, 255)
    assert seam_step(stepped, shift) > 4.0
    ramp = rgba.astype(float)
    ramp[..., :3] += np.linspace(0, 40, WIDTH)[None, :, None]
    assert seam_step(np.clip(ramp, 0, 255).astype(np.uint8), shift) < 2.0
