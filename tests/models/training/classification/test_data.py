from pathlib import Path

import cv2
import numpy as np
import torch

from models.training.classification.data import LetterboxedDataset


def test_decodes_in_advance_only_where_all_copies_fit_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), 90, np.uint8))
    images = [(path, 0)] * 200
    copies = {n: LetterboxedDataset(images, 64, memory_mb=4, processes=n) for n in (1, 2)}
    assert copies[1].decoded is not None
    assert copies[2].decoded is None
    assert torch.equal(copies[1][7][0], copies[2][7][0])
