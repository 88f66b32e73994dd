"""GrabCut on drawn objects, with previous masks, and on labelled photos if they are available."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.segmentation.grabcut import segment_object
from models.segmentation.masks import estimate_foreground
from models.segmentation.saliency import NoObjectError
from tests.demo_scenes.render import render

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def draw_scene(kind: str, height: int = 240, width: int = 300):
    """Return the pixels and the mask of one object drawn on a noisy two-tone background."""
    noise = np.random.default_rng(7).normal(0, 5, (height, width, 3))
    image = np.full((height, width, 3), (178, 158, 130), np.float64)
    image[: height // 2] -= 12
    mask = np.zeros((height, width), np.uint8)
    centre = (width // 2, height // 2)
    if kind == "disc":
        cv2.circle(mask, centre, height // 4, 1, -1)
    elif kind == "pair":
        for shift in (-width // 6, width // 6):
            cv2.ellipse(
                mask, (centre[0] + shift, centre[1]), (width // 12, height // 4), 0, 0, 360, 1, -1
            )
    elif kind == "mug":
        cv2.ellipse(mask, (width * 2 // 3, centre[1]), (50, 50), 0, 0, 360, 1, 12)
        cv2.rectangle(mask, (width // 4, height // 5), (width * 2 // 3, height * 4 // 5), 1, -1)
    elif kind == "cropped":
        cv2.rectangle(mask, (width // 3, height // 3), (width * 2 // 3, height), 1, -1)
    image[mask > 0] = (40, 70, 150)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask > 0


def iou(alpha, mask):
    inside = alpha > 0.5
    return (inside & mask).sum() / (inside | mask).sum()


@pytest.mark.parametrize("kind", ["disc", "pair", "mug", "cropped"])
def test_finds_a_drawn_object(kind):
    pixels, mask = draw_scene(kind)
    alpha = segment_object(pixels)
    assert alpha.shape == mask.shape
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert iou(alpha, mask) > 0.95


def test_keeps_the_hole_of_a_handle_open():
    pixels, mask = draw_scene("mug")
    hole = ~mask[120, 205:245]
    assert hole.any()
    assert segment_object(pixels)[120, 205:245][hole].mean() < 0.2


def test_closes_prints_and_small_gaps():
    pixels, mask = draw_scene("disc")
    pixels[105:135, 135:165] = (235, 235, 235)
    pixels[140:148, 140:148] = draw_scene("none")[0][140:148, 140:148]
    assert iou(segment_object(pixels), mask) > 0.95


def test_the_edge_is_soft_but_narrow():
    pixels, mask = draw_scene("disc", 480, 600)
    alpha = segment_object(pixels)
    soft = (alpha > 0.02) & (alpha < 0.98)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    distance += cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    assert soft.any()
    assert np.quantile(distance[soft], 0.9) < 6


@pytest.mark.parametrize("size", [(9, 7), (33, 201), (150, 31), (61, 67)])
def test_accepts_tiny_and_odd_sizes(size):
    pixels = np.full((*size, 3), 200, np.uint8)
    mask = np.zeros(size, bool)
    mask[size[0] // 3 : -(size[0] // 3), size[1] // 3 : -(size[1] // 3)] = True
    pixels[mask] = (30, 40, 160)
    alpha = segment_object(pixels)
    assert alpha.shape == size
    assert iou(alpha, mask) > 0.6


def test_gives_the_same_bytes_from_any_thread_in_any_order():
    scenes = [draw_scene(kind, 120, 150)[0] for kind in ("disc", "pair", "cropped")]
    expected = [segment_object(pixels).tobytes() for pixels in scenes]
    cv2.setRNGSeed(99)
    with ThreadPoolExecutor(2) as pool:
        reversed_results = list(
            pool.map(lambda pixels: segment_object(pixels).tobytes(), scenes[::-1])
        )
    assert reversed_results[::-1] == expected


def test_gives_the_same_bytes_with_another_thread_count():
    pixels, _ = draw_scene("pair")
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        single = segment_object(pixels).tobytes()
        cv2.setNumThreads(4)
        assert segment_object(pixels).tobytes() == single
    finally:
        cv2.setNumThreads(before)


def test_a_previous_mask_moves_only_within_its_band():
    pixels, mask = draw_scene("pair")
    one_shoe = mask.copy()
    one_shoe[:, mask.shape[1] // 2 :] = False
    grown = cv2.dilate(one_shoe.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    alpha = segment_object(pixels, previous_mask=grown)
    assert iou(alpha, one_shoe) > 0.95
    assert iou(alpha, one_shoe) > iou(grown, one_shoe)
    assert alpha[:, mask.shape[1] // 2 :].max() == 0


def test_a_previous_mask_keeps_what_is_not_salient():
    pixels, _ = draw_scene("disc")
    previous = np.zeros(pixels.shape[:2], np.float32)
    previous[20:60, 20:80] = 1
    alpha = segment_object(pixels, previous_mask=previous)
    assert alpha[30:50, 30:70].min() > 0.9
    assert alpha[100:].max() == 0


def test_rejects_a_uniform_photo():
    with pytest.raises(NoObjectError, match="no object found"):
        segment_object(np.full((80, 100, 3), 127, np.uint8))


def test_rejects_an_empty_previous_mask():
    pixels, mask = draw_scene("disc")
    with pytest.raises(NoObjectError, match="previous mask is empty"):
        segment_object(pixels, previous_mask=np.zeros(mask.shape, np.float32))


@pytest.mark.parametrize(
    ("pixels", "previous_mask"),
    [
        (np.zeros((20, 20), np.uint8), None),
        (np.zeros((20, 20, 4), np.uint8), None),
        (np.zeros((20, 20, 3), np.float32), None),
        (np.zeros((1, 20, 3), np.uint8), None),
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21), np.float32)),
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8)),
    ],
)
def test_names_bad_input(pixels, previous_mask):
    with pytest.raises(ValueError, match="must be"):
        segment_object(pixels, previous_mask=previous_mask)


def test_removes_the_background_colour_from_the_edge():
    alpha = np.zeros((40, 40), np.float32)
    alpha[:, 20:] = 1
    alpha[:, 18:20] = (0.33, 0.67)
    red, green = np.array([200.0, 20, 20]), np.array([20.0, 200, 20])
    mixed = alpha[..., None] * red + (1 - alpha[..., None]) * green
    foreground = estimate_foreground(mixed.astype(np.uint8), alpha)
    assert np.abs(foreground[:, 18:].astype(float) - red).max() <= 3
    assert (foreground[:, 25:] == mixed[:, 25:].astype(np.uint8)).all()


@pytest.mark.skipif(not (SHARED / "fruit").exists(), reason="needs the shared fruit photos")
def test_labelled_fruit_reaches_the_measured_iou():
    # Measured on all 25 hand-held fruits: mean 0.81; here every fourth of them.
    scores = []
    for mask_file in sorted((SHARED / "fruit" / "train_masks").glob("*/*.png"))[::4]:
        photo = SHARED / "fruit" / "train" / mask_file.parent.name / f"{mask_file.stem}.jpg"
        pixels = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(mask_file), cv2.IMREAD_GRAYSCALE) > 127
        scores.append(iou(segment_object(pixels), mask))
    assert np.mean(scores) > 0.72


def test_rendered_scenes_reach_the_measured_iou():
    # Held out from every fit, mean IoU is 0.88 on 36 scenes of domain train, 0.79 on 36 of test.
    # These five measured 0.80: GrabCut misses the bowl, whose wall has the colour of the cloth.
    labels = ("bowl", "car", "mug", "teapot", "vase")
    scenes = [render(label, 204, size=(240, 180)) for label in labels]
    scores = [iou(segment_object(view.pixels), view.mask) for view in scenes]
    assert np.mean(scores) > 0.75
    assert np.median(scores) > 0.95
