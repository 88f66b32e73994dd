"""The columns of ``predictions.parquet`` that belong to one task, and how they are read back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.evaluation.classification import Values, as_probabilities
from models.evaluation.detection.matching import BoxColumn
from models.evaluation.prediction_file.score_content import ScoreContent

# A classifier has float32 columns ``score_<class>``, one per class, in the order of the classes.
SCORE = "score_"
# Segmentation has this column instead: per image, pixels of segment i seen as j, row by row.
CONFUSION = "confusion"
# A detector has these: per image, the real objects, and what was found with its score. Boxes are
# x, y, width, height in px of the image of the dataset.
OBJECTS, FOUND = "objects", "found"
_BOX = ("x", "y", "width", "height")
_BOXES = {OBJECTS: ("class", *_BOX), FOUND: ("class", "score", *_BOX)}
# Names that a file's metadata hold: the classes of pixels, and the classes that have boxes.
NAMES = ("segments", "detected")


def task_fields(content: ScoreContent) -> list[tuple[str, Any]]:
    """Names and types of the task's columns."""
    if "detected" in content:
        return [
            (name, pa.list_(pa.struct([(key, _type_of(key)) for key in keys])))
            for name, keys in _BOXES.items()
        ]
    if "segments" in content:
        return [(CONFUSION, pa.list_(pa.int64()))]
    return [(f"{SCORE}{name}", pa.float32()) for name in content["classes"]]


def task_columns(content: ScoreContent, split: str) -> dict[str, Any]:
    """The task's columns of one split, and ``prediction``, the class of whole images if any."""
    columns = content[split]
    if "detected" in content:
        boxes = {
            name: _to_structs(columns[name], content["detected"], keys)
            for name, keys in _BOXES.items()
        }
        return {"prediction": [None] * len(columns["images"]), **boxes}
    if "segments" in content:
        rows = [np.ravel(counts).tolist() for counts in columns["confusion"]]
        return {"prediction": [None] * len(rows), CONFUSION: rows}
    classes = list(content["classes"])
    probabilities = as_probabilities(columns).reshape(-1, len(classes))
    scores = {f"{SCORE}{name}": probabilities[:, index] for index, name in enumerate(classes)}
    return {"prediction": [classes[label] for label in probabilities.argmax(axis=1)], **scores}


def read_task_columns(table: pa.Table, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The columns of a ``score`` document, from the rows of one split.

    Args:
        table: the rows.
        names: ``segments`` or ``detected`` of a file that has them.
    """
    if "detected" in names:
        return {name: _from_structs(table[name], names["detected"]) for name in _BOXES}
    if "segments" in names:
        return {CONFUSION: table[CONFUSION].to_pylist()}
    scores = [name for name in table.column_names if name.startswith(SCORE)]
    return {"probabilities": np.stack([table[name].to_numpy() for name in scores], axis=1)}


def _type_of(key: str) -> Any:
    return pa.string() if key == "class" else pa.float64()


def _to_structs(column: BoxColumn, classes: Sequence[str], keys: Sequence[str]) -> pa.ListArray:
    """Rows of numbers as structs, a list per image; the first number is the index of a class."""
    parts = [np.asarray(rows, np.float64).reshape(-1, len(keys)) for rows in column]
    stacked = np.concatenate([np.empty((0, len(keys))), *parts])
    labels = pa.array(classes, pa.string()).take(pa.array(stacked[:, 0].astype(np.int64)))
    numbers = [pa.array(stacked[:, place]) for place in range(1, len(keys))]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int32)
    structs = pa.StructArray.from_arrays([labels, *numbers], list(keys))
    return pa.ListArray.from_arrays(pa.array(ends), structs)


def _from_structs(column: pa.ChunkedArray, classes: Sequence[str]) -> list[Values]:
    """Structs as rows of numbers, an array per image."""
    lists = column.combine_chunks()
    boxes = lists.flatten()
    labels, *numbers = boxes.flatten()
    indices = pc.index_in(labels, pa.array(classes, pa.string()))
    rows = np.stack([part.to_numpy(zero_copy_only=False) for part in (indices, *numbers)], axis=1)
    ends = np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))
    return np.split(rows.astype(np.float64), ends[:-1])
