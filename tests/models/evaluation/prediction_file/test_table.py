from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.data.specs import Origin
from models.evaluation.conclusion import conclude, conclude_from
from models.evaluation.prediction_file.table import (
    ScoredModel,
    group_by_dataset,
    tabulate,
    write_predictions,
)
from models.evaluation.predictions import ClassifierPredictions
from models.evaluation.settings import VerdictSettings
from tests.models.evaluation.prediction_case import (
    CLASSES,
    FEW_REAL,
    FEW_SYNTHETIC,
    MIXED,
    make_dataset,
)

SETTINGS = VerdictSettings(margin=0.05)
ORIGINS = {"synthetic": FEW_SYNTHETIC, "few_shot": FEW_REAL, "mixed": MIXED}


def make_models(*names: str, seeds: int = 2) -> list[ScoredModel]:
    """Models as the stage ``score`` leaves them: ids, class indices, rounded probabilities."""
    models = []
    for accuracy, name in enumerate(names):
        dataset = make_dataset(name, 0.6 + 0.1 * accuracy, seeds, each=20)
        for seed, probabilities in enumerate(dataset.probabilities):
            split = {
                "images": [f"resize/{index:03d}" for index in range(60)],
                "truth": dataset.y_true.tolist(),
                "probabilities": [[round(float(p), 6) for p in row] for row in probabilities],
            }
            val = {column: values[::3] for column, values in split.items()}
            content = {"classes": list(CLASSES), "val": val, "test": split}
            models.append(ScoredModel(name, seed + 40, content))
    return models


def test_the_file_holds_every_prediction(tmp_path: Path) -> None:
    models = make_models("real", "mixed")
    write_predictions(tmp_path / "out" / "predictions.parquet", models, SETTINGS)
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.num_rows == 2 * 2 * (20 + 60)
    columns = ["dataset", "seed", "synthetic", "photos", "photos_per_class"]
    assert table.column_names[:5] == columns
    assert table.column_names[5:10] == ["split", "image", "family", "truth", "prediction"]
    assert table.column_names[10:] == ["score_apple", "score_kiwi", "score_plum"]
    row = table.slice(20 + 7, 1).to_pylist()[0]
    content: Any = models[0].content["test"]
    assert (row["dataset"], row["seed"], row["split"]) == ("real", 40, "test")
    assert row["image"] == content["images"][7]
    assert row["truth"] == CLASSES[content["truth"][7]]
    probabilities = np.float32(content["probabilities"][7])
    assert row["prediction"] == CLASSES[int(probabilities.argmax())]
    assert [row[f"score_{name}"] for name in CLASSES] == probabilities.tolist()


def test_the_file_holds_what_stands_behind_a_training_and_the_families() -> None:
    (model,) = make_models("synthetic", seeds=1)
    origin = Origin(synthetic=True, photos="references", photos_per_class=5)
    families = {"resize/000": "apple/a.jpg", "resize/002": "apple/a.jpg"}
    (dataset,) = group_by_dataset(tabulate([replace(model, origin=origin, families=families)]))
    assert dataset.origin == origin
    assert dataset.families[0] == dataset.families[2] != dataset.families[1]
    assert len(np.unique(dataset.families)) == 59


def test_the_same_predictions_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_predictions(tmp_path / name, make_models("real", "mixed"), SETTINGS)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_the_verdict_follows_from_the_file_alone(tmp_path: Path) -> None:
    models = [
        replace(model, origin=ORIGINS[model.dataset])
        for model in make_models("synthetic", "few_shot", "mixed", seeds=3)
    ]
    write_predictions(tmp_path / "predictions.parquet", models, SETTINGS)
    probabilities = {}
    for name in ORIGINS:
        tests: list[Any] = [model.content["test"] for model in models if model.dataset == name]
        probabilities[name] = np.asarray([test["probabilities"] for test in tests], np.float32)
    truth: Any = models[0].content["test"]["truth"]
    expected = conclude(
        [
            ClassifierPredictions(
                name, np.asarray(truth), CLASSES, ORIGINS[name], probabilities=figures
            )
            for name, figures in probabilities.items()
        ],
        SETTINGS,
    )
    assert expected.margin == 0.05
    assert len(expected.answers) == 1
    assert conclude_from(tmp_path / "predictions.parquet") == expected
    assert conclude(group_by_dataset(tabulate(models)), SETTINGS) == expected


def test_rejects_models_that_cannot_be_compared() -> None:
    real, other = make_models("real", "mixed", seeds=1)
    with pytest.raises(ValueError, match="no model was trained"):
        tabulate([])
    classes = ScoredModel("mixed", 1, {**other.content, "classes": ["a", "b", "c"]})
    with pytest.raises(ValueError, match="dataset mixed: classes"):
        tabulate([real, classes])
    test: Any = real.content["test"]
    reordered = {column: values[::-1] for column, values in test.items()}
    second = ScoredModel("real", 41, {**real.content, "test": reordered})
    with pytest.raises(ValueError, match="its seeds have different test photos"):
        group_by_dataset(tabulate([real, second]))


def test_rejects_files_without_predictions(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    with pytest.raises(ValueError, match="cannot be read as a table"):
        conclude_from(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        conclude_from(path)
    pq.write_table(pa.table({"dataset": ["real"]}), path)
    with pytest.raises(ValueError, match="has no column 'seed'"):
        conclude_from(path)
