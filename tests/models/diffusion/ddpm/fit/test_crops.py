"""Each crop is drawn as often as it should be; edges have other thresholds in each draw."""

from collections import Counter

import numpy as np
import pytest

from models.diffusion.ddpm.chain import as_levels
from models.diffusion.ddpm.fit.crops import Crops, random_edges, repeat_small


def levels(count: int) -> list[np.ndarray]:
    return [np.full((8, 8, 3), 40 * level, np.uint8) for level in range(count)]


def test_crops_are_drawn_as_often_as_their_repeats() -> None:
    crops = Crops(levels(4), repeats=[1, 3, 1, 1])
    drawn: Counter[int] = Counter()
    for draw in range(6):
        images, pictures = crops.batch(7, draw, 2)
        assert pictures is None
        assert images.shape == (2, 3, 8, 8)
        drawn.update(round(as_levels(image).mean() / 40) for image in images)
    assert drawn == {0: 2, 1: 6, 2: 2, 3: 2}
    assert np.array_equal(crops.batch(7, 3, 2)[0], crops.batch(7, 3, 2)[0])
    assert any(
        not np.array_equal(crops.batch(7, draw, 2)[0], crops.batch(8, draw, 2)[0])
        for draw in range(6)
    )


def test_small_objects_are_repeated() -> None:
    assert repeat_small([10.0, 40.0, 31.9], below=32, times=4) == [4, 1, 4]


def test_edges_have_random_thresholds_and_follow_the_crop() -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], (1, 64, 3))
    ramp[20:40, 20:40] = np.random.default_rng(0).integers(0, 90, (20, 20, 1))
    found = [random_edges(ramp, np.random.default_rng(seed)) for seed in range(6)]
    assert {edges.shape for edges in found} == {(64, 64, 1)}
    assert {level for edges in found for level in np.unique(edges)} == {0, 255}
    assert len({edges.tobytes() for edges in found}) > 2
    assert np.array_equal(found[0], random_edges(ramp, np.random.default_rng(0)))


def test_pictures_of_a_batch_belong_to_its_images() -> None:
    images = levels(4)
    crops = Crops(images, maps=[image[..., :1] for image in images])
    assert crops.picture_channels == 1
    batch, pictures = crops.batch(0, 1, 3)
    assert pictures is not None
    assert np.array_equal(batch[:, :1], pictures)


def test_impossible_crops_are_refused() -> None:
    with pytest.raises(ValueError, match="crops: there are none"):
        Crops([])
    with pytest.raises(ValueError, match="maps: 1 for 2 crops"):
        Crops(levels(2), maps=levels(1))
    with pytest.raises(ValueError, match="repeats: 3 for 2 crops"):
        Crops(levels(2), repeats=[1, 1, 1])
    with pytest.raises(ValueError, match="both maps and edges"):
        Crops(levels(1), maps=levels(1), edges=True)


def test_crops_and_their_maps_are_turned_alike() -> None:
    corner = np.zeros((8, 8, 3), np.uint8)
    corner[:2, :4] = 255
    crops = Crops([corner], maps=[corner[..., :1]], turns="all")
    images, maps = crops.batch(3, 0, 60)
    assert maps is not None
    assert np.array_equal(images[:, :1], maps)
    assert len({as_levels(image).tobytes() for image in images}) == 8
    mirrored, _ = Crops([corner], turns="mirrored").batch(3, 0, 60)
    assert {as_levels(image).tobytes() for image in mirrored} == {
        corner.tobytes(),
        corner[:, ::-1].tobytes(),
    }
