"""``metrics.json`` from the summary of a run and the predictions of its networks."""

import importlib.metadata
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.data.records import Artifact
from models.evaluation.classification import DatasetScores, TrainingScores, score
from models.evaluation.comparison import Difference, compare, dataset_interval
from models.evaluation.conclusion import Conclusion, conclude
from models.evaluation.predictions import (
    DatasetPredictions,
    ScoredModel,
    group_by_dataset,
    tabulate,
)
from models.reporting.metrics import (
    DatasetMetrics,
    Metrics,
    ReferenceMetrics,
    RefusedFile,
    TrainingMetrics,
)
from tasks.engine.run_context import RunContext
from tasks.report.data import DatasetSummary, RunSummary

AVERAGED = ("accuracy", "f1_macro", "f1_weighted", "roc_auc", "loss")
# With more datasets than these, each is compared with the real photos only.
PAIRED_DATASETS = 5

# Per split: truth, probabilities and image ids of one training.
Predictions = Mapping[str, Any]


def gather_metrics(run: RunContext, summary: RunSummary) -> Metrics:
    """Everything that ``metrics.json`` holds."""
    models = load_scored_models(run, summary)
    by_dataset: dict[str, list[Predictions]] = defaultdict(list)
    for model in models:
        by_dataset[model.dataset].append(model.content)
    trained = (
        {predictions.name: predictions for predictions in group_by_dataset(tabulate(models))}
        if models
        else {}
    )
    answer = conclude(list(trained.values())) if len(trained) > 1 else None
    photos = summary.photos
    return Metrics(
        name=summary.name,
        synthset=importlib.metadata.version("synthset"),
        profile=summary.profile,
        recipe=summary.recipe,
        classes=tuple(photos.classes),
        photos={split: _photos_per_class(summary, split) for split in ("train", "val", "test")},
        refused=tuple(RefusedFile(file=file, reason=reason) for file, reason in photos.refused),
        notes=(*summary.warnings, *photos.notes),
        references=tuple(
            ReferenceMetrics.model_validate(reference.model_dump(exclude={"key"}))
            for reference in summary.references
        ),
        arithmetic=summary.arithmetic,
        stages=summary.stages,
        rejects=summary.rejects,
        datasets={
            name: _dataset(dataset, trained.get(name), by_dataset[name])
            for name, dataset in summary.datasets.items()
        },
        runs=tuple(
            _training(checkpoint, model)
            for checkpoint, model in zip(summary.checkpoints, models, strict=True)
        ),
        comparisons=tuple(_comparisons(trained, answer)) if answer else (),
        verdict=answer,
        models=summary.models,
        seconds=round(summary.seconds, 1),
    )


def load_scored_models(run: RunContext, summary: RunSummary) -> list[ScoredModel]:
    """Every training with its predictions, in the order of the checkpoints."""
    origins = {dataset.document.id: dataset.origin for dataset in summary.datasets.values()}
    return [
        ScoredModel(
            str(checkpoint.variant["dataset"]),
            int(checkpoint.variant["seed"]),
            run.load(predictions),
            origins[checkpoint.parents[0]],
            summary.families,
        )
        for checkpoint, predictions in zip(summary.checkpoints, summary.scores, strict=True)
    ]


def _photos_per_class(summary: RunSummary, split: str) -> dict[str, int]:
    labels = [photo.label for photo in summary.photos.of(split)]
    return {label: labels.count(label) for label in summary.photos.classes}


def _training(checkpoint: Artifact, model: ScoredModel) -> TrainingMetrics:
    metadata = checkpoint.metadata
    history: dict[str, list[float]] = defaultdict(list)
    for epoch in metadata["history"]:
        for name, value in epoch.items():
            history[name].append(value)
    return TrainingMetrics(
        dataset=model.dataset,
        seed=model.seed,
        key=checkpoint.id,
        network=metadata["network"],
        parameters=metadata["parameters_count"],
        epochs=metadata["epochs_run"],
        steps_per_epoch=metadata["steps_per_epoch"],
        best_epoch=metadata["best_epoch"],
        seconds=metadata["seconds"],
        history={name: tuple(values) for name, values in history.items()},
        val=_training_scores(model.content, "val"),
        test=_training_scores(model.content, "test"),
    )


def _training_scores(predicted: Predictions, split: str) -> TrainingScores:
    scores = _score([predicted], split)
    return TrainingScores.model_validate(
        scores.model_dump(include=set(TrainingScores.model_fields))
    )


def _dataset(
    dataset: DatasetSummary, trained: DatasetPredictions | None, seeds: Sequence[Predictions]
) -> DatasetMetrics:
    """Means over the seeds; classes, confusion and curves from all seeds pooled."""
    metrics = DatasetMetrics(
        description=dataset.description, train=dataset.train, val=dataset.val, seeds=len(seeds)
    )
    if trained is None:
        return metrics
    return metrics.model_copy(
        update={
            "val_scores": _score(seeds, "val"),
            "test": _score(seeds, "test"),
            "accuracy": dataset_interval(trained, "accuracy"),
        }
    )


def _score(seeds: Sequence[Predictions], split: str) -> DatasetScores:
    """The scores of one split over all seeds.

    Figures of `AVERAGED` are means over the seeds. The rest comes from the predictions of all
    seeds together, with photos counted once.
    """
    classes = seeds[0]["classes"]
    truth = [seed[split]["truth"] for seed in seeds]
    rows = [np.asarray(seed[split]["probabilities"], np.float32) for seed in seeds]
    pooled = score(np.concatenate(truth).tolist(), np.concatenate(rows), classes)
    if len(seeds) == 1:
        return pooled
    each = [score(labels, own, classes) for labels, own in zip(truth, rows, strict=True)]
    changes: dict[str, Any] = {"images": len(truth[0])}
    for name in AVERAGED:
        values = [value for scores in each if (value := getattr(scores, name)) is not None]
        changes[name] = float(np.mean(np.asarray(values, float))) if values else None
    changes["per_class"] = {
        name: row.model_copy(update={"support": row.support // len(seeds)})
        for name, row in pooled.per_class.items()
    }
    return pooled.model_copy(update=changes)


def _comparisons(trained: Mapping[str, DatasetPredictions], answer: Conclusion) -> list[Difference]:
    """Every dataset against the real photos; of a few datasets, also every other pair."""
    others = [trained[name] for name in answer.differences]
    pairs = itertools.combinations(others, 2) if len(trained) <= PAIRED_DATASETS else ()
    return [
        *answer.differences.values(),
        *(compare(later, earlier, answer.metric) for earlier, later in pairs),
    ]
