"""Local features: mirrored without being searched again, stored without a loss."""

import numpy as np

from models.leakage.local_features import (
    LENGTH,
    find_local_features,
    pack_features,
    unpack_features,
)
from models.leakage.same_picture import match_upright
from tests.models.leakage.photos import read_photos


def test_descriptors_have_one_length() -> None:
    features = find_local_features(read_photos(1)[0])
    assert 100 < len(features.points) <= 301
    lengths = np.linalg.norm(features.descriptors.astype(float), axis=1)
    np.testing.assert_allclose(lengths, LENGTH, rtol=0.03)


def test_mirrored_features_are_those_of_the_mirror_image() -> None:
    photo = read_photos(1)[0]
    mirrored = find_local_features(np.ascontiguousarray(photo[:, ::-1]))
    match = match_upright(find_local_features(photo).mirrored(), mirrored)
    assert match is not None
    assert match.agreeing > 100
    assert match.coverage > 0.9
    assert match_upright(find_local_features(photo), mirrored) is None


def test_a_table_gives_the_same_features_back() -> None:
    for photo in (read_photos(1)[0], np.full((40, 60, 3), 90, np.uint8)):
        features = find_local_features(photo)
        again = unpack_features(pack_features(features))
        np.testing.assert_array_equal(again.points, features.points)
        np.testing.assert_array_equal(again.descriptors, features.descriptors)
        assert again.size == features.size
