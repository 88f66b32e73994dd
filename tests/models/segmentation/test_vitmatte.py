"""ViTMatte: trimaps around a mask, what stays sure, batches, sizes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.runtime.batching import InvalidOutput
from models.runtime.hardware import Machine
from models.segmentation.vitmatte import (
    INSIDE,
    OUTSIDE,
    UNSURE,
    VitMatte,
    VitMatteRequest,
    trimap_around,
)
from tests.checkpoints import vitmatte as tiny

CPU_4 = Machine(torch.device("cpu"), torch.float32, batch=4)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> VitMatte:
    folder = tmp_path_factory.mktemp("vitmatte")
    tiny.build(folder)
    return VitMatte.load(folder, machine=CPU_4)


def disc(height: int, width: int, radius: int) -> np.ndarray:
    mask = np.zeros((height, width), np.float32)
    cv2.circle(mask, (width // 2, height // 2), radius, 1.0, -1)
    return mask


def request(height: int, width: int, seed: int = 0) -> VitMatteRequest:
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return VitMatteRequest(image, disc(height, width, min(height, width) // 3), 0.1)


def test_the_band_is_a_share_of_the_objects_size() -> None:
    for radius in (20, 60):
        trimap = trimap_around(disc(200, 200, radius), 0.1)
        row = trimap[100]
        band = 0.1 * np.sqrt(np.pi) * radius
        assert (row == INSIDE).sum() == pytest.approx(2 * (radius - band), abs=4)
        assert (row != OUTSIDE).sum() == pytest.approx(2 * (radius + band), abs=4)
        assert set(np.unique(trimap)) == {OUTSIDE, UNSURE, INSIDE}


def test_a_thin_part_keeps_a_sure_core() -> None:
    mask = np.zeros((100, 100), np.float32)
    mask[48:52, 5:95] = 1
    assert (trimap_around(mask, 0.5)[:, 40:60] == INSIDE).any(0).all()


def test_an_empty_mask_stays_empty(network: VitMatte) -> None:
    empty = VitMatteRequest(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.float32))
    (made,) = network.compute([empty])
    assert isinstance(made, np.ndarray)
    assert not made.any()


def test_only_the_band_is_decided_anew(network: VitMatte) -> None:
    one = request(96, 128)
    (made,) = network.compute([one])
    trimap = trimap_around(one.matte, one.band)
    assert isinstance(made, np.ndarray)
    assert made.dtype == np.float32
    assert (made[trimap == INSIDE] == 1).all()
    assert (made[trimap == OUTSIDE] == 0).all()
    unsure = made[trimap == UNSURE]
    assert ((unsure > 0) & (unsure < 1)).all()
    assert unsure.std() > 0


def test_images_of_any_size_come_in_order_and_as_alone(network: VitMatte) -> None:
    requests = [request(70, 90), request(64, 64, 1), request(70, 90, 2), request(33, 47, 3)]
    batches: list[int] = []
    hook = network.network.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    together = list(network.compute(requests))
    hook.remove()
    assert batches == [2, 1, 1]
    for one, made in zip(requests, together, strict=True):
        (alone,) = network.compute([one])
        assert isinstance(made, np.ndarray)
        assert made.shape == one.matte.shape
        assert np.abs(made - alone).max() < 1e-4


def test_a_large_photo_is_worked_on_smaller_and_keeps_its_size(
    network: VitMatte, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.segmentation.vitmatte.LONGEST_SIDE", 64)
    seen: list[tuple[int, ...]] = []
    hook = network.network.register_forward_pre_hook(
        lambda _, given: seen.append(tuple(given[0].shape))
    )
    (made,) = network.compute([request(150, 200)])
    hook.remove()
    assert seen == [(1, 4, 64, 64)]
    assert isinstance(made, np.ndarray)
    assert made.shape == (150, 200)


def test_numbers_that_are_not_finite_are_unusable(tmp_path: Path) -> None:
    tiny.build(tmp_path)
    network = VitMatte.load(tmp_path, machine=CPU_4)
    with torch.no_grad():
        next(iter(network.network.parameters())).fill_(float("nan"))
    assert list(network.compute([request(40, 40)])) == [
        InvalidOutput("the network gave no finite numbers")
    ]
