"""Average precision of a detector, by the protocol of COCO, and what single photos change in it.

The precision at a recall is the best that is reached at that recall or a higher one. COCO averages
it over 101 recalls. What a photo changes is measured by the whole area instead: 101 steps are
coarser than the share of one photo in a large test.
"""

import numpy as np

from models.evaluation.classification import Labels, Values
from models.evaluation.detection.matching import IOUS, Matches
from models.evaluation.jackknife import Strata

RECALLS = np.linspace(0, 1, 101)


def precision_curves(matches: Matches) -> Values:
    """(classes, 10, 101) precision of each class, at each of `IOUS` and `RECALLS`.

    A class without an object has NaN.
    """
    support = matches.objects.sum(axis=0)
    curves = np.full((len(support), len(IOUS), len(RECALLS)), np.nan)
    for label in np.flatnonzero(support):
        is_hit = matches.is_hit[:, matches.rows_of(int(label))]
        hits = is_hit.cumsum(axis=1)
        precision = _highest_from(hits / np.arange(1, is_hit.shape[1] + 1))
        # A recall that is not reached has precision 0.
        precision = np.pad(precision, ((0, 0), (0, 1)))
        for level, recall in enumerate(hits / support[label]):
            curves[label, level] = precision[level, np.searchsorted(recall, RECALLS)]
    return curves


def changes_without_families(matches: Matches, rows: Labels, strata: Strata) -> Values:
    """(2, families) by how much mAP50:95 and mAP50 change without each family of photos.

    Args:
        matches: those of one detector.
        rows: (photos,) the position of each photo's family.
        strata: the families by class.
    """
    families = len(strata.of_family)
    support = np.zeros((families, matches.objects.shape[1]))
    np.add.at(support, rows, matches.objects)
    left = strata.leave_out(support)
    whole = support.sum(axis=0)
    areas = np.zeros((2, families, len(whole)))
    full = np.zeros((2, len(whole)))
    for label in np.flatnonzero(whole):
        of_class = matches.rows_of(int(label))
        owners = rows[matches.photos[of_class]]
        by_level = np.stack(
            [_areas(is_hit, owners, strata) for is_hit in matches.is_hit[:, of_class]]
        )
        summed = np.stack([by_level.mean(axis=0), by_level[0]])
        full[:, label] = summed[:, -1] / whole[label]
        areas[:, :, label] = summed[:, :-1] / np.maximum(left[:, label], 1e-9)
    # Sums of weights leave rounding errors where a class has no object.
    is_present = left > 1e-9
    means = np.where(is_present, areas, 0.0).sum(axis=2) / np.maximum(is_present.sum(axis=1), 1)
    return np.asarray(means - full.sum(axis=1, keepdims=True) / max(np.count_nonzero(whole), 1))


def _areas(is_hit: Values, owners: Labels, strata: Strata) -> Values:
    """(families + 1,) the area under precision by hits without each family, and with all.

    Args:
        is_hit: (boxes,) of one class at one IoU, from the highest score on.
        owners: (boxes,) the position of the family of each box.
        strata: the families by class.
    """
    places = np.flatnonzero(is_hit)
    if not len(places):
        return np.zeros(len(strata.of_family) + 1)
    # Between hits, precision only falls. So all boxes up to a hit are counted with it.
    until = np.searchsorted(places, np.arange(places[-1] + 1))
    found, hits = np.zeros((2, len(strata.of_family), len(places)))
    np.add.at(found, (owners[: len(until)], until), 1)
    hits[owners[places], np.arange(len(places))] = 1
    found, hits = (
        np.vstack([strata.leave_out(counts), counts.sum(axis=0)]) for counts in (found, hits)
    )
    precision = hits.cumsum(axis=1) / np.maximum(found.cumsum(axis=1), 1e-9)
    return np.asarray((hits * _highest_from(precision)).sum(axis=1))


def _highest_from(precision: Values) -> Values:
    """The highest value from each place of the last axis on."""
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
