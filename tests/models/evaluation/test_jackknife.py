"""Strata of the jackknife: one per class, and one for photos without an object."""

import numpy as np

from models.evaluation.jackknife import stratify


def test_a_stratum_per_class_and_one_for_photos_without_an_object() -> None:
    strata = stratify(np.array([-1, 1, -1, 0, 1, 0]))
    assert strata.sizes.tolist() == [2, 2, 2]
    assert strata.of_family.tolist() == [0, 2, 0, 1, 2, 1]


def test_classes_with_a_single_family_share_a_stratum() -> None:
    assert stratify(np.array([0, 0, 1, 2])).of_family.tolist() == [1, 1, 0, 0]
    # A class that is alone with a single family takes the smallest other class with it.
    assert stratify(np.array([-1, 0, 0, 1, 1, 1])).of_family.tolist() == [0, 0, 0, 1, 1, 1]
