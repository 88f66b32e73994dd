"""The depth of an object fills the range, and is 0 outside."""

import numpy as np

from models.depth.masked import mask_depth


def test_stretches_the_objects_depth_and_clears_the_rest():
    depth = np.full((6, 6), 60000, np.uint16)
    depth[1:5, 1:5] = np.linspace(10000, 20000, 16).reshape(4, 4)
    alpha = np.zeros((6, 6), np.uint8)
    alpha[1:5, 1:5] = 255
    masked = mask_depth(depth, alpha, 0.2)
    assert masked.dtype == np.uint16
    expected = 0.2 + 0.8 * (depth[1:5, 1:5] - 10000.0) / 10000
    np.testing.assert_allclose(masked[1:5, 1:5] / 65535, expected, atol=1e-4)
    assert masked[0].max() == masked[:, 5].max() == 0


def test_a_soft_edge_lowers_the_depth():
    depth, alpha = np.full((2, 2), 500, np.uint16), np.array([[255, 51]] * 2, np.uint8)
    masked = mask_depth(depth, alpha, 0.5)
    np.testing.assert_array_equal(masked, [[32768, 6554]] * 2)


def test_an_empty_mask_has_no_depth():
    assert mask_depth(np.zeros((2, 2), np.uint16), np.full((2, 2), 127, np.uint8), 0.2) is None
