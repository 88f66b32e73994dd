from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from models.training.classification.data import LetterboxedDataset, augment


@pytest.mark.parametrize("name", ["none", "flip", "crop", "randaugment", "autoaugment", "trivial"])
def test_augmentation_depends_on_its_generator_alone(name: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    before, state = pixels.copy(), torch.get_rng_state()
    first = [augment(pixels, name, np.random.default_rng(seed)) for seed in range(12)]
    torch.rand(3)
    second = [augment(pixels, name, np.random.default_rng(seed)) for seed in range(12)]
    torch.set_rng_state(state)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(image.shape == (40, 40, 3) and image.dtype == np.uint8 for image in first)
    assert np.array_equal(pixels, before)
    differing = {image.tobytes() for image in first}
    assert len(differing) == {"none": 1, "flip": 2}.get(name, len(differing))
    assert name in ("none", "flip") or len(differing) >= 6


def test_decodes_in_advance_only_where_all_copies_fit_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), 90, np.uint8))
    images = [(path, 0)] * 200
    copies = {n: LetterboxedDataset(images, 64, memory_mb=4, processes=n) for n in (1, 2)}
    assert copies[1].decoded is not None
    assert copies[2].decoded is None
    assert torch.equal(copies[1][7][0], copies[2][7][0])
