"""Quality measures of good and bad masks of drawn objects."""

import numpy as np
import pytest

from models.segmentation.mask_quality import measure_mask
from tests.models.segmentation.test_grabcut import draw_scene


def test_a_worse_mask_scores_lower():
    pixels, mask = draw_scene("disc")
    good = measure_mask(pixels, mask.astype(np.float32))
    shifted = measure_mask(pixels, np.roll(mask, 55, axis=1).astype(np.float32))
    strip = np.zeros(mask.shape, np.float32)
    strip[:60] = 1
    assert good.score > shifted.score + 0.1
    assert good.score > measure_mask(pixels, strip).score + 0.2
    assert good.edge_contrast > shifted.edge_contrast
    assert good.components == 1
    assert good.border_fraction == 0
    assert good.area_fraction == pytest.approx(mask.mean(), abs=0.01)
    assert measure_mask(pixels, draw_scene("pair")[1].astype(np.float32)).components == 2


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_an_empty_or_full_mask_scores_zero(level):
    pixels, mask = draw_scene("disc")
    assert measure_mask(pixels, np.full(mask.shape, level, np.float32)).score == 0
