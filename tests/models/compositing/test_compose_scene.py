"""Scenes and their labels equal those that a slow renderer paints px by px."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from models.compositing.compose_scene import label_objects, paint_scene
from models.compositing.cut_out import prepare_cut_out
from models.compositing.scene_layout import Layout, draw_layout, warp_cut_out
from models.compositing.scene_settings import Blending, SceneSettings
from models.data.formats.polygons import decode_runs
from models.data.pixels import Matrix, Pixels
from tests.models.compositing.cut_outs import draw_disc

Numbers = npt.NDArray[np.int64]
WIDTH, HEIGHT = 96, 72
COLOURS = [(250, 30, 30), (30, 250, 30), (30, 30, 250), (250, 250, 30), (30, 250, 250)]
CUT_OUTS = [
    prepare_cut_out(draw_disc(side, colour))
    for side, colour in zip((60, 90, 40, 70, 50), COLOURS, strict=True)
]
SETTINGS = SceneSettings(
    width=WIDTH,
    height=HEIGHT,
    smallest=0.3,
    largest=0.7,
    max_overlap=0.6,
    truncation=0.4,
    min_visibility=0.2,
    max_rotation=180,
    upside_down=0.5,
)


def draw(seed: int, distractors: int = 0) -> Layout:
    objects = CUT_OUTS[: 5 - distractors]
    return draw_layout(objects, CUT_OUTS[5 - distractors :], SETTINGS, np.random.default_rng(seed))


def draw_background(seed: int) -> Pixels:
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return np.asarray(cv2.resize(small, (WIDTH, HEIGHT)), np.uint8)


def render(background: Pixels, layout: Layout) -> tuple[Matrix, Numbers, list[int]]:
    """Colours (float), the object on top of each px (-1: none), and px of each object's mask."""
    scene = background.astype(np.float64)
    top = np.full((HEIGHT, WIDTH), -1)
    areas = []
    for number, placed in enumerate(layout.placed):
        area = 0
        for row in range(placed.patch.shape[0]):
            for column in range(placed.patch.shape[1]):
                red, green, blue, alpha = placed.patch[row, column].tolist()
                area += alpha >= 128
                y, x = row + placed.top, column + placed.left
                if not (0 <= y < HEIGHT and 0 <= x < WIDTH):
                    continue
                scene[y, x] = scene[y, x] * (255 - alpha) / 255 + (red, green, blue)
                if alpha >= 128:
                    top[y, x] = number
        areas.append(area)
    return scene, top, areas


@pytest.mark.parametrize("seed", range(4))
def test_masks_boxes_and_visibility_are_exact_to_the_px(seed: int) -> None:
    layout = draw(seed, distractors=seed % 2)
    _, top, areas = render(draw_background(0), layout)
    labelled = {entry.number: entry for entry in label_objects(layout)}
    assert len(labelled) == sum(not placed.is_distractor for placed in layout.placed) >= 2
    for position, placed in enumerate(layout.placed):
        if placed.is_distractor:
            assert placed.number not in labelled
            continue
        entry = labelled[placed.number]
        truth = top == position
        np.testing.assert_array_equal(decode_runs(entry.mask, HEIGHT, WIDTH), truth)
        rows, columns = np.nonzero(truth)
        x, y, width, height = entry.box
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
        assert entry.visibility == pytest.approx(truth.sum() / areas[position])


@pytest.mark.parametrize("seed", range(3))
def test_colours_are_those_of_a_slow_renderer(seed: int) -> None:
    layout, background = draw(seed, distractors=2), draw_background(seed)
    before = background.copy()
    expected, _, _ = render(background, layout)
    painted = paint_scene(background, layout, "alpha", 1.5)
    # Each of at most 5 layers is rounded once.
    assert np.abs(painted - np.clip(expected, 0, 255)).max() <= 2.5
    np.testing.assert_array_equal(background, before)


@pytest.mark.parametrize("blending", ["none", "gaussian", "box", "poisson"])
def test_blendings_differ_in_the_seams_alone(blending: Blending) -> None:
    layout, background = draw(5), draw_background(5)
    alpha = paint_scene(background, layout, "alpha", 1.0)
    other = paint_scene(background, layout, blending, 1.0)
    assert (alpha != other).any()
    # Poisson blending also changes the colours inside, and nothing outside.
    owner = layout.owner
    opaque = np.zeros(owner.shape, np.bool_)
    outside = np.ones(owner.shape, np.bool_)
    for number, placed in enumerate(layout.placed, start=1):
        mask = np.zeros(owner.shape, np.uint8)
        mask[owner == number] = 1
        opaque |= cv2.erode(mask, np.ones((11, 11)), borderValue=0) > 0
        near = np.zeros((3 * HEIGHT, 3 * WIDTH), np.bool_)
        height, width = placed.patch.shape[:2]
        top, left = placed.top + HEIGHT, placed.left + WIDTH
        near[top : top + height, left : left + width] = placed.patch[..., 3] > 0
        outside &= ~near[HEIGHT : 2 * HEIGHT, WIDTH : 2 * WIDTH]
    assert opaque.any()
    assert outside.any()
    np.testing.assert_array_equal(other[outside], background[outside])
    if blending != "poisson":
        assert np.abs(alpha[opaque].astype(int) - other[opaque]).max() <= 2


def test_thread_counts_do_not_change_a_scene() -> None:
    threads = cv2.getNumThreads()
    scenes = []
    for count in (1, 4):
        cv2.setNumThreads(count)
        layout = draw(7)
        scenes.append([paint_scene(draw_background(1), layout, b, 1.5) for b in ("box", "poisson")])
    cv2.setNumThreads(threads)
    np.testing.assert_array_equal(scenes[0], scenes[1])


def test_a_cut_out_is_warped_to_its_size_mirrored_and_rotated() -> None:
    image = np.zeros((40, 60, 4), np.uint8)
    image[..., 3] = 255
    image[:, :30, 0] = 255
    cut_out = prepare_cut_out(image)
    half = warp_cut_out(cut_out, 0.5, 0, (False, False))
    assert abs(half[..., 3].astype(float).sum() / 255 - 600) < 60
    left, right = half[10, 5, 0], half[10, 25, 0]
    assert (left, right) == (255, 0)
    mirrored = warp_cut_out(cut_out, 0.5, 0, (True, False))
    assert (mirrored[10, 5, 0], mirrored[10, 25, 0]) == (0, 255)
    turned = warp_cut_out(cut_out, 1.0, 90, (False, False))
    # Rotated against the clock, the left half is below.
    assert (turned[15, 20, 0], turned[45, 20, 0]) == (0, 255)
