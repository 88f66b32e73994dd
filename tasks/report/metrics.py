"""The numbers of a run: ``metrics.json``, from its story and its networks' predictions."""

import importlib.metadata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.data.records import Artifact
from models.evaluation.classification import score
from models.evaluation.comparison import compare, dataset_interval
from models.evaluation.conclusion import Conclusion, conclude
from models.evaluation.predictions import DatasetPredictions
from tasks.engine.run_context import RunContext
from tasks.report.data import Story

AVERAGED = ("accuracy", "f1_macro", "f1_weighted", "roc_auc", "loss")
TOLD = ("val", "test")


def gather_metrics(run: RunContext, story: Story) -> dict[str, Any]:
    """Everything that ``metrics.json`` holds; see docs/outputs.md for its fields."""
    predictions = [run.load(one) for one in story.scores]
    runs = [
        _run(checkpoint, found)
        for checkpoint, found in zip(story.checkpoints, predictions, strict=True)
    ]
    arms = _arms(story.checkpoints, predictions)
    answer = conclude(list(arms.values())) if len(arms) > 1 else None
    photos = story.photos
    return {
        "name": story.recipe["name"],
        "synthset": importlib.metadata.version("synthset"),
        "profile": story.recipe["profile"],
        "recipe": story.recipe,
        "classes": photos.classes,
        "photos": {split: _per_class(photos, split) for split in ("train", "val", "test")},
        "refused": [{"file": file, "reason": reason} for file, reason in photos.refused],
        "notes": [*story.warnings, *photos.notes],
        "references": [
            {
                **one.model_dump(exclude={"key"}),
                "rejected": one.images - one.accepted,
            }
            for one in story.references
        ],
        "arithmetic": story.arithmetic,
        "stages": story.stages,
        "rejects": story.rejects,
        "datasets": {
            arm: {**volume, **_arm_scores(arm, runs, predictions, story, arms)}
            for arm, volume in story.volumes.items()
        },
        "runs": runs,
        "comparisons": _comparisons(arms, answer),
        "verdict": answer.model_dump(mode="json") if answer else None,
        "models": list(story.models),
        "seconds": round(story.seconds, 1),
    }


def _per_class(photos: Any, split: str) -> dict[str, int]:
    labels = [photo.label for photo in photos.of(split)]
    return {label: labels.count(label) for label in photos.classes}


def _run(checkpoint: Artifact, found: Mapping[str, Any]) -> dict[str, Any]:
    metadata = checkpoint.metadata
    history: dict[str, list[float]] = defaultdict(list)
    for epoch in metadata["history"]:
        for name, value in epoch.items():
            history[name].append(value)
    scores = {split: _scores(found, split) for split in TOLD}
    kept = (*AVERAGED, "per_class", "confusion", "prediction_share")
    return {
        "arm": checkpoint.variant["arm"],
        "seed": checkpoint.variant["seed"],
        "key": checkpoint.id,
        "network": metadata["network"],
        "parameters": metadata["parameters_count"],
        "epochs": metadata["epochs_run"],
        "steps_per_epoch": metadata["steps_per_epoch"],
        "best_epoch": metadata["best_epoch"],
        "seconds": metadata["seconds"],
        "history": dict(history),
        **{split: {name: scores[split][name] for name in kept} for split in TOLD},
    }


def _scores(found: Mapping[str, Any], split: str) -> dict[str, Any]:
    probabilities = np.asarray(found[split]["probabilities"], np.float32)
    return dict(score(found[split]["truth"], probabilities, found["classes"]))


def _arms(
    checkpoints: Sequence[Artifact], predictions: Sequence[Mapping[str, Any]]
) -> dict[str, DatasetPredictions]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for checkpoint, one in zip(checkpoints, predictions, strict=True):
        found[str(checkpoint.variant["arm"])].append(one)
    return {
        name: DatasetPredictions(
            name=name,
            y_true=np.asarray(seeds[0]["test"]["truth"], np.int64),
            probabilities=np.asarray([one["test"]["probabilities"] for one in seeds], np.float32),
            classes=tuple(seeds[0]["classes"]),
        )
        for name, seeds in found.items()
    }


def _arm_scores(
    arm: str,
    runs: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    story: Story,
    arms: Mapping[str, DatasetPredictions],
) -> dict[str, Any]:
    """Means over the seeds; curves, confusion and classes from all seeds pooled."""
    own = [one for one in runs if one["arm"] == arm]
    if not own:
        return {"seeds": 0}
    found = [
        one
        for checkpoint, one in zip(story.checkpoints, predictions, strict=True)
        if checkpoint.variant["arm"] == arm
    ]
    interval = dataset_interval(arms[arm], "accuracy")
    bounds = {"accuracy_low": interval.low, "accuracy_high": interval.high}
    return {
        "seeds": len(own),
        "test": {**_pooled(own, found, "test"), **bounds},
        "val_scores": _pooled(own, found, "val"),
    }


def _pooled(
    own: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], split: str
) -> dict[str, Any]:
    truth = [label for one in found for label in one[split]["truth"]]
    rows = [row for one in found for row in one[split]["probabilities"]]
    pooled: dict[str, Any] = dict(score(truth, np.asarray(rows, np.float32), found[0]["classes"]))
    for name in AVERAGED:
        values = [one[split][name] for one in own if one[split][name] is not None]
        pooled[name] = float(np.mean(values)) if values else None
    pooled["images"] = len(truth) // len(found)
    for figures in pooled["per_class"].values():
        figures["support"] //= len(found)
    return pooled


def _comparisons(
    arms: Mapping[str, DatasetPredictions], answer: Conclusion | None
) -> list[dict[str, Any]]:
    if answer is None:
        return []
    gaps = dict(answer.differences)
    if {"mixed", "synthetic"} <= set(arms):
        gaps["mixed-synthetic"] = compare(arms["mixed"], arms["synthetic"], answer.metric)
    if {"few_shot", "synthetic"} <= set(arms):
        gaps["synthetic-few"] = compare(arms["synthetic"], arms["few_shot"], answer.metric)
    return [
        {
            "a": gap.dataset_a,
            "b": gap.dataset_b,
            **gap.model_dump(exclude={"dataset_a", "dataset_b"}),
        }
        for gap in gaps.values()
    ]
