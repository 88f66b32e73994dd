"""The predictions of a point of a study, joined over its replicates."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from models.evaluation.classification import as_probabilities
from models.evaluation.predictions import UNKNOWN, DatasetPredictions, SegmentationPredictions

# The content of a ``score`` artifact.
ScoreContent = Mapping[str, Any]


def join_replicates(
    contents: Sequence[ScoreContent], split: Literal["val", "test"], families: Mapping[str, str]
) -> DatasetPredictions:
    """The predictions of a point for one split, from the ``score`` content of each replicate.

    ``families`` has the near-duplicate family of images by their id; an image without an entry is a
    family of its own.
    """
    first = contents[0]
    names = [families.get(image, image) for image in first[split]["images"]]
    codes = np.unique(names, return_inverse=True)[1]
    truth = np.array(first[split]["truth"], np.int64)
    classes = tuple(first["classes"])
    if "segments" in first:
        segments = tuple(first["segments"])
        shape = (len(truth), len(segments), len(segments))
        confusion = [
            np.array(content[split]["confusion"], np.float64).reshape(shape) for content in contents
        ]
        empty = np.empty(0, np.float32)
        shared = (classes, UNKNOWN, codes)
        return SegmentationPredictions(split, truth, empty, *shared, np.stack(confusion), segments)
    probabilities = [as_probabilities(content[split]) for content in contents]
    return DatasetPredictions(split, truth, np.stack(probabilities), classes, families=codes)
