"""Every prediction of a run: per dataset, seed and photo, the truth and what was predicted.

``predictions.parquet`` has one row per prediction. The verdict is computed from it alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.data.files import write_atomic
from models.data.records import NO_OBJECT_LABEL
from models.data.specs import Origin
from models.evaluation.prediction_file.columns import (
    NAMES,
    SCORE,
    read_task_columns,
    task_columns,
    task_fields,
)
from models.evaluation.prediction_file.score_content import ScoreContent, join_seeds
from models.evaluation.predictions import UNKNOWN, DatasetPredictions
from models.evaluation.settings import VerdictSettings

FILE_NAME = "predictions.parquet"
SPLITS = ("val", "test")
# After these come the columns of the task.
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
_SETTINGS, _CLASSES = b"verdict", b"classes"


@dataclass(frozen=True)
class ScoredModel:
    """One trained model and the content of its ``score`` artifact.

    ``origin`` says what stands behind the training. ``families`` has the near-duplicate family of
    images by their id; an image without an entry is a family of its own.
    """

    dataset: str
    seed: int
    content: ScoreContent
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
    content = models[0].content
    names = {name.encode(): json.dumps(content[name]).encode() for name in NAMES if name in content}
    # The names of columns hold the classes of a classifier.
    metadata = {**names, _CLASSES: json.dumps(classes).encode()} if names else None
    schema = pa.schema([*COLUMNS.items(), *task_fields(content)], metadata)
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
    metadata = table.schema.metadata or {}
    known = {name: metadata.get(name.encode()) for name in NAMES}
    names = {name: json.loads(content) for name, content in known.items() if content}
    classes = [name.removeprefix(SCORE) for name in table.column_names if name.startswith(SCORE)]
    classes = json.loads(metadata.get(_CLASSES, b"[]")) or classes
    test = table.filter(pc.equal(table["split"], "test"))
    seeds = test.select(["dataset", "seed"]).group_by(["dataset", "seed"], use_threads=False)
    contents: dict[str, list[ScoreContent]] = {}
    rows_of: dict[str, pa.Table] = {}
    for found in seeds.aggregate([]).to_pylist():
        name = found["dataset"]
        is_own = pc.and_(pc.equal(test["dataset"], name), pc.equal(test["seed"], found["seed"]))
        rows = test.filter(is_own)
        if not rows_of.setdefault(name, rows)["image"].equals(rows["image"]):
            raise ValueError(f"dataset {name}: its seeds have different test photos; use one set")
        split = {
            "images": rows["image"].to_pylist(),
            "truth": [_index_of(label, classes) for label in rows["truth"].to_pylist()],
            **read_task_columns(rows, names),
        }
        contents.setdefault(name, []).append({"classes": classes, **names, "test": split})
    return [_join(name, rows_of[name], found) for name, found in contents.items()]


def _join(name: str, rows: pa.Table, contents: Sequence[ScoreContent]) -> DatasetPredictions:
    """The predictions of one dataset; ``rows`` are those of its first seed."""
    families = dict(zip(rows["image"].to_pylist(), rows["family"].to_pylist(), strict=True))
    (origin,) = rows.select(["synthetic", "photos", "photos_per_class"]).slice(0, 1).to_pylist()
    return join_seeds(contents, "test", families, name, Origin.model_validate(origin))


def _index_of(label: str, classes: Sequence[str]) -> int:
    """The index of a class; -1 for a photo without an object."""
    return -1 if label == NO_OBJECT_LABEL else classes.index(label)


def _split_columns(model: ScoredModel, split: str, classes: list[str]) -> dict[str, Any]:
    if list(model.content["classes"]) != classes:
        raise ValueError(
            f"dataset {model.dataset}: classes {model.content['classes']} are not {classes}; "
            "compare models of the same classes"
        )
    content = model.content[split]
    count = len(content["images"])
    return {
        "dataset": [model.dataset] * count,
        "seed": [model.seed] * count,
        "synthetic": [model.origin.synthetic] * count,
        "photos": [model.origin.photos] * count,
        "photos_per_class": [model.origin.photos_per_class] * count,
        "split": [split] * count,
        "image": list(content["images"]),
        "family": [model.families.get(image, image) for image in content["images"]],
        "truth": [classes[label] if label >= 0 else NO_OBJECT_LABEL for label in content["truth"]],
        **task_columns(model.content, split),
    }
