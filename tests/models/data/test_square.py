from pathlib import Path

import numpy as np
import pytest

from models.data.square import letterbox, read_square


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (7, 5), (300, 150), (32, 32)])
def test_letterbox_keeps_proportions_and_pads_with_grey(shape: tuple[int, int]) -> None:
    square = letterbox(np.full((*shape, 3), 250, np.uint8), 32)
    rows, columns = np.nonzero((square != 128).any(axis=2))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert square.shape == (32, 32, 3)
    assert max(height, width) == 32
    assert abs(height / width - shape[0] / shape[1]) <= shape[0] / shape[1] * 0.1
    assert (square[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == 250).all()


def test_an_unreadable_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_bytes(b"no photo")
    with pytest.raises(ValueError, match=r"note\.jpg: the content is text"):
        read_square(tmp_path / "note.jpg", 32)
    with pytest.raises(ValueError, match=r"gone\.jpg: the file cannot be read"):
        read_square(tmp_path / "gone.jpg", 32)
