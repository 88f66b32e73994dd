"""A plausible run drawn in code: metrics as a finished run has them, and pictures of every kind."""

from typing import Any

import numpy as np

from models.data.pixels import Pixels
from models.data.specs import Origin
from models.evaluation.answers import Conclusion
from models.evaluation.averages import mean_over_seeds
from models.evaluation.classification import DatasetScores, TrainingScores, score
from models.evaluation.comparison import dataset_interval
from models.evaluation.conclusion import conclude
from models.evaluation.predictions import ClassifierPredictions
from models.reporting.figures import draw_figures
from models.reporting.input import Gap, RejectGroup, ReportInput, Sheet, SheetRow, Thumb
from models.reporting.metrics import (
    Arithmetic,
    Cost,
    DatasetMetrics,
    Factor,
    Metrics,
    ReferenceMetrics,
    RefusedFile,
    StageMetrics,
    TrainingMetrics,
)

DATASETS = ("real", "synthetic", "mixed")
CLASSES = ("mug", "sneaker", "toy_car")
STAGES = (
    "ingest",
    "upscale",
    "caption",
    "multiview",
    "augment",
    "segment",
    "depth",
    "masked_depth",
    "background",
    "outpaint",
    "measure",
    "screen",
)
FACTORS = (
    Factor(amount=7, name="views", note="the photo and its new views"),
    Factor(amount=2, name="augmentations", note="colour, light, blur, flip"),
    Factor(amount=2, name="backgrounds", note="scenes per cut-out"),
    Factor(amount=4, name="shifts", note="a grid of 2 by 2"),
)
# How well the networks of each dataset do: the mean logit of the true class.
_SKILL = (2.0, 1.7, 3.4, 1.2)


def make_metrics(
    classes: tuple[str, ...] = CLASSES, seeds: int = 3, datasets: tuple[str, ...] = DATASETS
) -> Metrics:
    """The metrics of a finished run with 5 reference photos per class."""
    rng = np.random.default_rng(7)
    photos = {"train": 40, "val": 10, "test": 20}
    answer = _verdict(datasets, seeds, classes)
    return Metrics(
        name="demo",
        recipe={"name": "demo", "profile": "classical", "outpaint": {"k": 2}, "plates": None},
        profile="classical",
        synthset="0.1.0",
        classes=classes,
        photos={split: dict.fromkeys(classes, amount) for split, amount in photos.items()},
        refused=(RefusedFile(file=f"{classes[0]}/broken.jpg", reason="the file ends too early"),),
        notes=("2 photos are exact copies of others and were counted once",),
        reference_photos=len(_references(classes)),
        references=_references(classes),
        arithmetic={
            "multiview": Arithmetic(
                factors=FACTORS,
                per_photo=112,
                photos=5 * len(classes),
                total=560 * len(classes),
            )
        },
        stages={
            stage: StageMetrics(
                computed=int(rng.integers(15, 1680)),
                cached=int(rng.integers(0, 90)),
                cpu_s=float(rng.uniform(0.2, 60)),
            )
            for stage in STAGES
        },
        rejects={"near-duplicate of a sibling": 61, "object too small": 17},
        datasets={
            name: _dataset(name, position, classes, seeds) for position, name in enumerate(datasets)
        },
        runs=tuple(
            _training(name, position, seed, classes)
            for position, name in enumerate(datasets)
            for seed in range(seeds)
        ),
        comparisons=answer.differences if answer else (),
        verdict=answer,
        costs={
            name: Cost(generation_s=0.0 if name == "real" else 310.4, training_s=21.5)
            for name in datasets
        },
        test_looks=2 if answer else 0,
        seconds=412.6,
    )


def make_empty_metrics() -> Metrics:
    """The metrics of a run that stopped before its first stage."""
    return Metrics(name="", synthset="", profile="", recipe={}, classes=(), photos={})


def change(metrics: Metrics, **parts: Any) -> Metrics:
    """The metrics with some parts replaced, checked again."""
    content = dict(metrics) | parts
    return Metrics.model_validate(content)


def make_report(metrics: Metrics | None = None) -> ReportInput:
    """A whole report: sheets, samples, rejects and wrong predictions with pictures."""
    metrics = make_metrics() if metrics is None else metrics
    samples = tuple(
        Thumb(draw_scene(seed, 96, 96), "", metrics.classes[seed % len(metrics.classes)])
        for seed in range(6)
    )
    return ReportInput(
        title="Demo: three kinds of things",
        metrics=metrics,
        figures=tuple(draw_figures(metrics)),
        sheets=tuple(make_sheet(photo.name, photo.label) for photo in metrics.references[:3]),
        rejects=(
            RejectGroup("near-duplicate of a sibling", 61, samples[:4]),
            RejectGroup("object too small", 17, samples[:2]),
        ),
        dataset_samples=dict.fromkeys(metrics.datasets, samples),
        test_samples=samples,
        misclassified=(Thumb(draw_scene(3, 96, 128), "predicted as mug, 0.71", "sneaker"),),
    )


def make_sheet(reference: str = "mug/photo-1", label: str = "mug") -> Sheet:
    """A contact sheet with RGB, RGBA, mask and depth pictures in it."""
    photo, alpha = draw_scene(1, 120, 96), draw_alpha(120, 96)
    cut = np.dstack([photo, alpha])
    depth = (alpha.astype(np.uint16) * 200 + 40) * (alpha > 0)
    views = tuple(
        Thumb(np.roll(cut, 3 * view, axis=1), f"{60 * view}°", f"view {view}") for view in range(7)
    )
    shifts = tuple(
        Thumb(
            np.dstack([draw_scene(view, 96, 128), draw_alpha(96, 128)]),
            "",
            f"shift {view}",
            "outline",
        )
        for view in range(6)
    )
    return Sheet(
        reference,
        label,
        (
            SheetRow("photo", "the reference, upright and in sRGB", (Thumb(photo, "120 × 96"),), 1),
            SheetRow("multiview", "the photo and six new views around the object", views, 7),
            SheetRow("segment", "the mask", (Thumb(alpha > 127), Thumb(alpha)), 14),
            SheetRow("depth", "bright is near", (Thumb(depth.astype(np.uint16)),), 14),
            SheetRow(
                "background",
                "new scenes",
                (*shifts[:2], Gap("no object found"), Gap(), *shifts[2:4]),
                28,
                columns=("view 0", "view 1", "view 2"),
                words=(("first prompt", "a photo of a mug"), ("negative prompt", "blurry")),
            ),
            SheetRow("outpaint", "the scenes shifted over the grid", shifts, 112),
        ),
    )


def draw_scene(seed: int, height: int, width: int) -> Pixels:
    """A coloured disc on a sloped ground, RGB."""
    rng = np.random.default_rng(seed)
    top, bottom, paint = rng.integers(30, 230, (3, 3))
    slope = np.linspace(0, 1, height)[:, None, None]
    scene = np.broadcast_to(top * (1 - slope) + bottom * slope, (height, width, 3))
    inside = draw_alpha(height, width)[..., None] / 255.0
    return np.asarray(np.rint(scene * (1 - inside) + paint * inside), np.uint8)


def draw_alpha(height: int, width: int) -> Pixels:
    """A disc in the middle with a soft rim, 0..255."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    alpha = np.clip((min(height, width) * 0.35 - distance) * 64 + 128, 0, 255)
    return np.asarray(alpha, np.uint8)


def _references(classes: tuple[str, ...]) -> tuple[ReferenceMetrics, ...]:
    return tuple(
        ReferenceMetrics(
            name=f"{label}/photo-{photo}",
            label=label,
            status="computed",
            images=112,
            accepted=112 - photo,
            rejected=photo,
        )
        for label in classes
        for photo in range(5)
    )


def _dataset(name: str, position: int, classes: tuple[str, ...], seeds: int) -> DatasetMetrics:
    """The volume of a dataset, and means of its scores over the seeds."""
    by_seed = [_scores(position, seed, classes) for seed in range(seeds)]
    return DatasetMetrics(
        description=f"{name} images",
        train=dict.fromkeys(classes, 40),
        synthetic={} if name == "real" else dict.fromkeys(classes, 20 if name == "mixed" else 40),
        val=dict.fromkeys(classes, 10),
        seeds=seeds,
        val_scores=by_seed[0],
        test=mean_over_seeds(by_seed),
        accuracy=dataset_interval(_predictions(name, position, seeds, classes), "accuracy"),
    )


def _predictions(
    name: str, position: int, seeds: int, classes: tuple[str, ...]
) -> ClassifierPredictions:
    probabilities = np.stack([_probabilities(position, seed, classes) for seed in range(seeds)])
    origin = Origin(synthetic=name != "real", photos="references", photos_per_class=5)
    return ClassifierPredictions(
        name, _truth(classes), classes, origin, probabilities=probabilities
    )


def _verdict(datasets: tuple[str, ...], seeds: int, classes: tuple[str, ...]) -> Conclusion | None:
    """The verdict that a run would reach over these trainings."""
    if "real" not in datasets or len(datasets) < 2:
        return None
    return conclude(
        [_predictions(name, position, seeds, classes) for position, name in enumerate(datasets)]
    )


def _truth(classes: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.repeat(np.arange(len(classes)), 20)


def _probabilities(
    position: int, seed: int, classes: tuple[str, ...]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng([position, seed])
    truth = _truth(classes)
    logits = rng.normal(0, 1, (len(truth), len(classes)))
    logits[np.arange(len(truth)), truth] += _SKILL[position % 4] + rng.normal(0, 0.1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.asarray(probabilities, np.float32)


def _scores(position: int, seed: int, classes: tuple[str, ...]) -> DatasetScores:
    probabilities = _probabilities(position, seed, classes)
    return score(_truth(classes).tolist(), probabilities, list(classes))


def _training(name: str, position: int, seed: int, classes: tuple[str, ...]) -> TrainingMetrics:
    rng = np.random.default_rng([position, seed, 1])
    epochs = np.arange(12)
    rise = 1 - np.exp(-epochs / (2.5 + position * 0.5))
    val = 0.35 + 0.52 * rise + rng.normal(0, 0.015, 12)
    train = np.minimum(0.4 + 0.58 * rise, 1)
    scores = _scores(position, seed, classes)
    own = TrainingScores.model_validate(scores.model_dump(include=set(TrainingScores.model_fields)))
    return TrainingMetrics(
        dataset=name,
        seed=seed,
        key=f"train/{name}{seed}",
        network="small_cnn",
        parameters=559_532,
        epochs=12,
        steps_per_epoch=9,
        seconds=21.5,
        best_epoch=int(val.argmax()),
        epoch_choices={"6": 0.75, "12": 0.875},
        history={
            "epoch": tuple(epochs.tolist()),
            "learning_rate": tuple(0.01 * 0.1 ** (epoch // 5) for epoch in range(12)),
            "train_loss": tuple((1.1 - rise + rng.uniform(0, 0.05, 12)).tolist()),
            "val_loss": tuple((1.15 - 0.8 * rise + rng.uniform(0, 0.08, 12)).tolist()),
            "train_accuracy": tuple(train.tolist()),
            "val_accuracy": tuple(val.tolist()),
            "train_f1_macro": tuple((train - 0.01).tolist()),
            "val_f1_macro": tuple((val - 0.01).tolist()),
        },
        val=own,
        test=own,
    )
