"""Shapes of a bank belong together, and repeat with their seed."""

import numpy as np

from models.diffusion.ddpm.control.bank import ShapeBank


def test_edges_and_masks_are_of_one_crop_and_flipped_together() -> None:
    images, masks = [], []
    for left in (4, 16):
        mask = np.zeros((32, 32), bool)
        mask[8:24, left : left + 8] = True
        images.append(np.where(mask[..., None], 10, 240).astype(np.uint8).repeat(3, axis=2))
        masks.append(mask)
    bank = ShapeBank(images, masks)
    drawn = [bank.draw(np.random.default_rng(seed)) for seed in range(12)]
    assert {(shape.crop, shape.flipped) for shape in drawn} == {
        (crop, flipped) for crop in (0, 1) for flipped in (False, True)
    }
    for shape in drawn:
        expected = masks[shape.crop][:, ::-1] if shape.flipped else masks[shape.crop]
        np.testing.assert_array_equal(shape.mask, expected)
        rows, columns = np.nonzero(shape.edges[..., 0])
        assert abs(rows.mean() - 15.5) < 1
        assert abs(columns.mean() - np.nonzero(expected)[1].mean()) < 1
    again = bank.draw(np.random.default_rng(3))
    np.testing.assert_array_equal(again.edges, drawn[3].edges)
