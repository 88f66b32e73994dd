"""Every prediction of a run: per dataset, seed and photo, the truth and a score per class.

``predictions.parquet`` has one row per prediction. The verdict is computed from it alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.data.files import write_atomic
from models.data.records import Origin
from models.evaluation.classification import as_probabilities
from models.evaluation.predictions import (
    UNKNOWN,
    DatasetPredictions,
    SegmentationPredictions,
)
from models.evaluation.settings import VerdictSettings

FILE_NAME = "predictions.parquet"
SPLITS = ("val", "test")
# After these come float32 columns ``score_<class>``, one per class, in the order of the classes.
COLUMNS = {
    "dataset": pa.string(),
    "seed": pa.int64(),
    "synthetic": pa.bool_(),
    "photos": pa.string(),
    "photos_per_class": pa.int64(),
    "split": pa.string(),
    "image": pa.string(),
    "family": pa.string(),
    "truth": pa.string(),
    "prediction": pa.string(),
}
SCORE = "score_"
# Segmentation has this column instead: per image, pixels of segment i seen as j, row by row.
# The file's metadata names the segments, and the classes of whole images.
CONFUSION = "confusion"
_SETTINGS, _SEGMENTS, _CLASSES = b"verdict", b"segments", b"classes"


@dataclass(frozen=True)
class ScoredModel:
    """One trained model and the content of its ``score`` artifact.

    ``content`` has ``classes``, and for ``val`` and ``test`` the columns ``images`` (ids),
    ``truth`` (class indices) and ``probabilities`` (one row per image). That of a segmentation
    network has ``segments``, and ``confusion`` (one square of pixel counts per image) instead.
    ``origin`` says what stands behind the training. ``families`` has the near-duplicate family of
    images by their id; an image without an entry is a family of its own.
    """

    dataset: str
    seed: int
    content: Mapping[str, Any]
    origin: Origin = UNKNOWN
    families: Mapping[str, str] = field(default_factory=dict)


def tabulate(models: Sequence[ScoredModel]) -> pa.Table:
    """All predictions as a table, in the order of models, splits (val, test) and images.

    Raises:
        ValueError: there is no model, or the models have different classes.
    """
    if not models:
        raise ValueError("predictions: no model was trained; train at least one")
    classes = list(models[0].content["classes"])
    scores = [(f"{SCORE}{name}", pa.float32()) for name in classes]
    if "segments" in models[0].content:
        content = {
            _SEGMENTS: json.dumps(models[0].content["segments"]).encode(),
            _CLASSES: json.dumps(classes).encode(),
        }
        schema = pa.schema([*COLUMNS.items(), (CONFUSION, pa.list_(pa.int64()))], content)
    else:
        schema = pa.schema([*COLUMNS.items(), *scores])
    parts = [
        pa.table(_split_columns(model, split, classes), schema=schema)
        for model in models
        for split in SPLITS
    ]
    return pa.concat_tables(parts)


def write_predictions(path: Path, models: Sequence[ScoredModel], settings: VerdictSettings) -> None:
    """Write `tabulate`'s table, with the settings of the verdict among the file's metadata.

    The same predictions give the same bytes.
    """
    buffer = pa.BufferOutputStream()
    table = tabulate(models).combine_chunks()
    content = (table.schema.metadata or {}) | {_SETTINGS: settings.model_dump_json().encode()}
    pq.write_table(table.replace_schema_metadata(content), buffer)
    write_atomic(path, buffer.getvalue().to_pybytes())


def read_predictions(path: Path) -> tuple[list[DatasetPredictions], VerdictSettings]:
    """The test predictions of each dataset, and the settings of the verdict, from a run's file.

    Raises:
        ValueError: the file is missing, or is not such a file.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(
            f"{path}: cannot be read as a table ({type(error).__name__}); run again to write it"
        ) from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: has no column {missing[0]!r}; give a {FILE_NAME} of a run")
    settings = (table.schema.metadata or {}).get(_SETTINGS, b"{}")
    return group_by_dataset(table), VerdictSettings.model_validate_json(settings)


def group_by_dataset(table: pa.Table) -> list[DatasetPredictions]:
    """The test predictions of each dataset, datasets and seeds in the order of the table.

    Raises:
        ValueError: the seeds of a dataset were tested on different photos.
    """
    classes = [name.removeprefix(SCORE) for name in table.column_names if name.startswith(SCORE)]
    content = table.schema.metadata or {}
    segments = tuple(json.loads(content.get(_SEGMENTS, b"[]")))
    classes = classes or json.loads(content.get(_CLASSES, b"[]"))
    test = table.filter(pc.equal(table["split"], "test"))
    rows: dict[str, dict[int, list[int]]] = {}
    for row, (dataset, seed) in enumerate(
        zip(test["dataset"].to_pylist(), test["seed"].to_pylist(), strict=True)
    ):
        rows.setdefault(dataset, {}).setdefault(seed, []).append(row)
    if segments:
        scores: npt.NDArray[Any] = np.array(test[CONFUSION].to_pylist(), np.float64)
        scores = scores.reshape(-1, len(segments), len(segments))
    else:
        scores = np.stack([test[f"{SCORE}{name}"].to_numpy() for name in classes], axis=1)
    images = np.array(test["image"].to_pylist())
    families = np.array(test["family"].to_pylist())
    origins = test.select(["synthetic", "photos", "photos_per_class"])
    class_indices = {name: index for index, name in enumerate(classes)}
    truth = np.array([class_indices[name] for name in test["truth"].to_pylist()], np.int64)
    datasets: list[DatasetPredictions] = []
    for name, seeds in rows.items():
        first, *others = seeds.values()
        if any(not np.array_equal(images[first], images[other]) for other in others):
            raise ValueError(f"dataset {name}: its seeds have different test photos; use one set")
        stacked = np.stack([scores[seed_rows] for seed_rows in seeds.values()])
        origin = Origin.model_validate(origins.slice(first[0], 1).to_pylist()[0])
        codes = np.unique(families[first], return_inverse=True)[1]
        shared = (tuple(classes), origin, codes)
        if segments:
            empty = np.empty(0, np.float32)
            datasets.append(
                SegmentationPredictions(name, truth[first], empty, *shared, stacked, segments)
            )
        else:
            datasets.append(DatasetPredictions(name, truth[first], stacked, *shared))
    return datasets


def _split_columns(model: ScoredModel, split: str, classes: list[str]) -> dict[str, Any]:
    if list(model.content["classes"]) != classes:
        raise ValueError(
            f"dataset {model.dataset}: classes {model.content['classes']} are not {classes}; "
            "compare models of the same classes"
        )
    content = model.content[split]
    count = len(content["images"])
    columns = {
        "dataset": [model.dataset] * count,
        "seed": [model.seed] * count,
        "synthetic": [model.origin.synthetic] * count,
        "photos": [model.origin.photos] * count,
        "photos_per_class": [model.origin.photos_per_class] * count,
        "split": [split] * count,
        "image": list(content["images"]),
        "family": [model.families.get(image, image) for image in content["images"]],
        "truth": [classes[label] for label in content["truth"]],
    }
    if "segments" in model.content:
        rows = [np.ravel(counts).tolist() for counts in content["confusion"]]
        return columns | {"prediction": [None] * count, CONFUSION: rows}
    probabilities = as_probabilities(content).reshape(-1, len(classes))
    columns["prediction"] = [classes[label] for label in probabilities.argmax(axis=1)]
    scores = {f"{SCORE}{name}": probabilities[:, index] for index, name in enumerate(classes)}
    return columns | scores
