"""The metrics of a run that trained detectors, from detections drawn in code."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.evaluation.comparison import dataset_interval
from models.evaluation.conclusion import conclude
from models.evaluation.detection.predictions import match_seeds
from models.evaluation.detection.scores import DetectionScores, score_detection
from models.evaluation.prediction_file.score_content import ScoreContent, join_seeds
from models.evaluation.prediction_file.table import ScoredModel
from models.evaluation.predictions import DatasetPredictions
from models.evaluation.settings import VerdictSettings
from models.reporting.metrics import DatasetMetrics, Metrics, TrainingMetrics
from tests.models.evaluation.detection.detection_case import make_model
from tests.models.reporting.report_case import change, make_metrics

SKILLS = {"real": 0.55, "added": 0.85}


def make_detection_metrics(models: Sequence[ScoredModel] = ()) -> Metrics:
    """A run with the trainings ``real`` and ``added``, three seeds each if none are given."""
    models = models or [
        make_model(name, skill, seed, synthetic=name == "added")
        for name, skill in SKILLS.items()
        for seed in range(3)
    ]
    names = list(dict.fromkeys(model.dataset for model in models))
    trained = [_join([model for model in models if model.dataset == name]) for name in names]
    verdict = conclude(trained, VerdictSettings(metric="map_50_95"))
    contents = {
        name: [model.content for model in models if model.dataset == name] for name in names
    }
    amounts = dict.fromkeys(models[0].content["classes"], 20)
    return change(
        make_metrics(),
        classes=tuple(models[0].content["classes"]),
        photos=dict.fromkeys(("train", "val", "test"), amounts),
        datasets={
            found.name: DatasetMetrics(
                description=f"{found.name} images",
                train=amounts,
                val=amounts,
                seeds=found.seeds,
                val_scores=_score(contents[found.name], "val"),
                test=_score(contents[found.name], "test"),
                map_50_95=dataset_interval(found, "map_50_95"),
            )
            for found in trained
        },
        runs=tuple(_training(model) for model in models),
        verdict=verdict,
        comparisons=verdict.differences,
        costs={},
    )


def _join(models: Sequence[ScoredModel]) -> DatasetPredictions:
    first = models[0]
    contents = [model.content for model in models]
    return join_seeds(contents, "test", {}, first.dataset, first.origin)


def _score(contents: Sequence[ScoreContent], split: str) -> DetectionScores:
    detected = contents[0]["detected"]
    return score_detection(
        match_seeds([found[split] for found in contents], len(detected)), detected
    )


def _training(model: ScoredModel) -> TrainingMetrics:
    own = _score([model.content], "test").of_training()
    return TrainingMetrics(
        dataset=model.dataset,
        seed=model.seed,
        key=f"train/{model.dataset}{model.seed}",
        network="ssdlite_efficientnet_lite0",
        parameters=4_100_000,
        epochs=12,
        steps_per_epoch=9,
        seconds=61.5,
        best_epoch=11,
        history=_history(own.map_50, model.seed),
        val=own,
        test=own,
    )


def _history(last: float, seed: int) -> Mapping[str, tuple[float, ...]]:
    rise = 1 - np.exp(-np.arange(12) / 3) + np.random.default_rng(seed).normal(0, 0.02, 12)
    return {
        "epoch": tuple(range(12)),
        "learning_rate": tuple(0.001 * 0.8**epoch for epoch in range(12)),
        "train_loss": tuple((2 - rise).tolist()),
        "val_loss": tuple((2.2 - rise).tolist()),
        "val_map_50": tuple((last * rise).tolist()),
        "val_map_50_95": tuple((0.6 * last * rise).tolist()),
    }
