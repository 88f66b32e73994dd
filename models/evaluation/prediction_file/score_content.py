"""What a ``score`` document holds, as the predictions of several seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from models.data.specs import Origin
from models.evaluation.classification import as_probabilities
from models.evaluation.detection.predictions import DetectionPredictions, match_seeds
from models.evaluation.predictions import UNKNOWN, ClassifierPredictions, DatasetPredictions
from models.evaluation.segmentation import SegmentationPredictions

# The content of a ``score`` artifact: ``classes``, and for ``val`` and ``test`` the columns
# ``images`` (ids), ``truth`` (class indices) and ``probabilities`` (a row per image). That of a
# segmentation network has ``segments``, and ``confusion`` (a square of pixel counts per image).
# That of a detector has ``detected``, and ``objects`` and ``found`` (boxes per image).
ScoreContent = Mapping[str, Any]


def join_seeds(
    contents: Sequence[ScoreContent],
    split: Literal["val", "test"],
    families: Mapping[str, str],
    name: str = "",
    origin: Origin = UNKNOWN,
) -> DatasetPredictions:
    """The predictions for one split by the models that were trained on one dataset.

    Args:
        contents: those of each seed, with the same images.
        split: which images.
        families: the near-duplicate family of images by their id; an image without an entry is a
            family of its own.
        name: that of the dataset; empty: that of the split.
        origin: what stands behind the training.
    """
    first, columns = contents[0], [content[split] for content in contents]
    images = [families.get(image, image) for image in columns[0]["images"]]
    codes = np.unique(images, return_inverse=True)[1]
    truth = np.array(columns[0]["truth"], np.int64)
    shared = (name or split, truth, tuple(first["classes"]), origin, codes)
    if "detected" in first:
        detected = tuple(first["detected"])
        matches = match_seeds(columns, len(detected))
        return DetectionPredictions(*shared, matches=matches, detected=detected)
    if "segments" in first:
        segments = tuple(first["segments"])
        shape = (len(columns), len(truth), len(segments), len(segments))
        confusion = np.array([column["confusion"] for column in columns], np.float64)
        return SegmentationPredictions(
            *shared, confusion=confusion.reshape(shape), segments=segments
        )
    probabilities = np.stack([as_probabilities(column) for column in columns])
    return ClassifierPredictions(*shared, probabilities=probabilities)
