"""``metrics.json`` from the summary of a run and the predictions of its networks."""

import importlib.metadata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from models.data.records import NO_OBJECT_LABEL, Artifact
from models.evaluation.averages import mean_over_seeds
from models.evaluation.classification import (
    DatasetScores,
    as_probabilities,
    score,
)
from models.evaluation.comparison import dataset_interval
from models.evaluation.conclusion import conclude
from models.evaluation.detection.predictions import match_seeds
from models.evaluation.detection.scores import DetectionScores, score_detection
from models.evaluation.prediction_file.score_content import ScoreContent, join_seeds
from models.evaluation.prediction_file.table import ScoredModel
from models.evaluation.predictions import DatasetPredictions
from models.evaluation.segmentation import SegmentationScores, score_segmentation
from models.quality.records import ClassSelection, QualityMetrics
from models.reporting.metrics import (
    DatasetMetrics,
    Metrics,
    ReferenceMetrics,
    RefusedFile,
    TrainingMetrics,
)
from tasks.engine.run_context import RunContext
from tasks.report.costs import measure_costs
from tasks.report.data import DatasetSummary, RunSummary
from tasks.report.finetuned import find_finetuned
from tasks.report.looks import count_looks


def gather_metrics(run: RunContext, summary: RunSummary) -> Metrics:
    """Everything that ``metrics.json`` holds."""
    models = load_scored_models(run, summary)
    by_dataset: dict[str, list[ScoreContent]] = defaultdict(list)
    for model in models:
        by_dataset[model.dataset].append(model.content)
    origins = {model.dataset: model.origin for model in models}
    trained = {
        name: join_seeds(contents, "test", summary.families, name, origins[name])
        for name, contents in by_dataset.items()
    }
    answer = conclude(list(trained.values()), summary.verdict) if len(trained) > 1 else None
    trainings = tuple(
        _training(checkpoint, model)
        for checkpoint, model in zip(summary.checkpoints, models, strict=True)
    )
    photos = summary.photos
    return Metrics(
        name=summary.name,
        synthset=importlib.metadata.version("synthset"),
        profile=summary.profile,
        recipe=summary.recipe,
        problem=summary.problem,
        classes=tuple(photos.classes),
        left_out=photos.left_out,
        photos={split: _photos_per_class(summary, split) for split in ("train", "val", "test")},
        refused=tuple(RefusedFile(file=file, reason=reason) for file, reason in photos.refused),
        notes=(*summary.warnings, *photos.warnings, *photos.notes),
        reference_photos=summary.reference_photos,
        references=tuple(
            ReferenceMetrics.model_validate(reference.model_dump(exclude={"key", "is_learned"}))
            for reference in summary.references
        ),
        arithmetic=summary.arithmetic,
        stages=summary.stages,
        rejects=summary.rejects,
        datasets={
            name: _dataset(dataset, trained.get(name), by_dataset[name])
            for name, dataset in summary.datasets.items()
        },
        runs=trainings,
        finetuned=tuple(find_finetuned(run.store, summary)),
        costs=measure_costs(summary, trainings, answer),
        test_looks=count_looks(run.store, summary.photos, summary.scores) if models else 0,
        comparisons=answer.differences if answer else (),
        verdict=answer,
        quality=QualityMetrics.model_validate(run.load(summary.quality))
        if summary.quality
        else None,
        selections=tuple(
            ClassSelection(generator=document.name, **row)
            for document in summary.selections
            for row in run.load(document)["classes"]
        ),
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
    bare = [NO_OBJECT_LABEL] if NO_OBJECT_LABEL in labels else []
    return {label: labels.count(label) for label in (*summary.photos.classes, *bare)}


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
        epoch_choices={
            str(choice["epochs"]): choice["val_score"]
            for choice in metadata.get("epoch_choices", ())
        },
        seconds=metadata["seconds"],
        history={name: tuple(values) for name, values in history.items()},
        val=_score([model.content], "val").of_training(),
        test=_score([model.content], "test").of_training(),
    )


def _dataset(
    dataset: DatasetSummary, trained: DatasetPredictions | None, seeds: Sequence[ScoreContent]
) -> DatasetMetrics:
    """The volume of a training set, and means of its scores over the seeds."""
    metrics = DatasetMetrics(
        description=dataset.description,
        train=dataset.train,
        synthetic=dataset.synthetic,
        val=dataset.val,
        seeds=len(seeds),
    )
    if trained is None:
        return metrics
    return metrics.model_copy(
        update={
            "val_scores": _score(seeds, "val"),
            "test": _score(seeds, "test"),
            trained.shown_metric: dataset_interval(trained, trained.shown_metric),
        }
    )


def _score(
    seeds: Sequence[ScoreContent], split: str
) -> DatasetScores | SegmentationScores | DetectionScores:
    """The scores of one split: means over the seeds."""
    if "detected" in seeds[0]:
        detected = seeds[0]["detected"]
        return score_detection(
            match_seeds([seed[split] for seed in seeds], len(detected)), detected
        )
    if "segments" in seeds[0]:
        confusion = np.array([seed[split]["confusion"] for seed in seeds], np.int64)
        return score_segmentation(confusion, seeds[0]["segments"])
    return mean_over_seeds(
        [
            score(seed[split]["truth"], as_probabilities(seed[split]), seed["classes"])
            for seed in seeds
        ]
    )
