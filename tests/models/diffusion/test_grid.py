"""A mask is scaled and cropped as its image is."""

import numpy as np
import pytest

from models.diffusion.grid import fit_mask_to_grid, fit_to_grid


@pytest.mark.parametrize(("size", "longest"), [((75, 100), 128), ((400, 300), 192), ((90, 91), 64)])
def test_a_mask_fits_the_image_and_no_level_is_mixed(size: tuple[int, int], longest: int) -> None:
    image = np.zeros((*size, 3), np.uint8)
    mask = np.zeros(size, np.uint8)
    inside = (slice(size[0] // 4, size[0] // 2), slice(size[1] // 3, 2 * size[1] // 3))
    image[inside], mask[inside] = 255, 255
    mask[0] = 128
    fitted, levels = fit_to_grid(image, longest), fit_mask_to_grid(mask, longest)
    assert levels.shape == fitted.shape[:2]
    assert max(levels.shape) == longest
    assert set(np.unique(levels)) <= {0, 128, 255}
    differing = (fitted[..., 0] >= 128) != (levels == 255)
    assert differing.mean() < 0.03
