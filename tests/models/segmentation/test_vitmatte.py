"""ViTMatte: trimaps around a mask, what stays sure, batches and sizes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.segmentation.masks import INSIDE, OUTSIDE, UNSURE, trimap_around
from models.segmentation.vitmatte import VitMatte, VitMatteRequest
from tests.checkpoints import vitmatte as tiny

CPU_4 = Machine(torch.device("cpu"), torch.float32, batch=4)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> VitMatte:
    folder = tmp_path_factory.mktemp("vitmatte")
    tiny.build(folder)
    return VitMatte.load(folder, machine=CPU_4)


def draw_disc(height: int, width: int, radius: int) -> np.ndarray:
    mask = np.zeros((height, width), np.float32)
    cv2.circle(mask, (width // 2, height // 2), radius, 1.0, -1)
    return mask


def make_request(height: int, width: int, seed: int = 0) -> VitMatteRequest:
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return VitMatteRequest(image, draw_disc(height, width, min(height, width) // 3), 0.1)


def test_the_band_is_a_share_of_the_object_size() -> None:
    for radius in (20, 60):
        trimap = trimap_around(draw_disc(200, 200, radius) > 0.5, 0.1)
        row = trimap[100]
        band = 0.1 * np.sqrt(np.pi) * radius
        assert (row == INSIDE).sum() == pytest.approx(2 * (radius - band), abs=4)
        assert (row != OUTSIDE).sum() == pytest.approx(2 * (radius + band), abs=4)
        assert set(np.unique(trimap)) == {OUTSIDE, UNSURE, INSIDE}


def test_a_thin_part_keeps_a_sure_core() -> None:
    mask = np.zeros((100, 100), np.float32)
    mask[48:52, 5:95] = 1
    assert (trimap_around(mask > 0.5, 0.5)[:, 40:60] == INSIDE).any(0).all()


def test_returns_an_empty_mask_unchanged(network: VitMatte) -> None:
    empty = VitMatteRequest(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.float32))
    (alpha,) = network.compute([empty])
    assert isinstance(alpha, np.ndarray)
    assert not alpha.any()


def test_changes_only_the_band(network: VitMatte) -> None:
    request = make_request(96, 128)
    (alpha,) = network.compute([request])
    trimap = trimap_around(request.alpha > 0.5, request.band)
    assert isinstance(alpha, np.ndarray)
    assert alpha.dtype == np.float32
    assert (alpha[trimap == INSIDE] == 1).all()
    assert (alpha[trimap == OUTSIDE] == 0).all()
    unsure = alpha[trimap == UNSURE]
    assert ((unsure > 0) & (unsure < 1)).all()
    assert unsure.std() > 0


def test_a_batch_gives_the_single_results_in_order(network: VitMatte) -> None:
    requests = [
        make_request(70, 90),
        make_request(64, 64, 1),
        make_request(70, 90, 2),
        make_request(33, 47, 3),
    ]
    batches: list[int] = []
    hook = network.network.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    batched = list(network.compute(requests))
    hook.remove()
    assert batches == [2, 1, 1]
    for request, alpha in zip(requests, batched, strict=True):
        (single,) = network.compute([request])
        assert isinstance(alpha, np.ndarray)
        assert alpha.shape == request.alpha.shape
        assert np.abs(alpha - single).max() < 1e-4


def test_scales_a_large_photo_down_and_keeps_its_size(
    network: VitMatte, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.segmentation.vitmatte.LONGEST_SIDE", 64)
    shapes: list[tuple[int, ...]] = []
    hook = network.network.register_forward_pre_hook(
        lambda _, args: shapes.append(tuple(args[0].shape))
    )
    (alpha,) = network.compute([make_request(150, 200)])
    hook.remove()
    assert shapes == [(1, 4, 64, 64)]
    assert isinstance(alpha, np.ndarray)
    assert alpha.shape == (150, 200)


def test_output_that_is_not_finite_is_invalid(tmp_path: Path) -> None:
    tiny.build(tmp_path)
    network = VitMatte.load(tmp_path, machine=CPU_4)
    with torch.no_grad():
        next(iter(network.network.parameters())).fill_(float("nan"))
    assert list(network.compute([make_request(40, 40)])) == [
        InvalidOutput("the network gave no finite numbers")
    ]
