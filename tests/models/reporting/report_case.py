"""A plausible run drawn in code: metrics as `metrics.json` has them, and pictures of every kind."""

from typing import Any

import numpy as np

from models.evaluation.classification import score
from models.evaluation.conclusion import conclude
from models.evaluation.predictions import DatasetPredictions
from models.reporting.page import Gap, RejectGroup, ReportInput, Sheet, SheetRow, Thumb

ARMS = ("real", "synthetic", "mixed")
CLASSES = ("mug", "sneaker", "toy_car")
STAGES = (
    *("ingest", "upscale", "caption", "multiview", "augment", "segment", "depth", "masked_depth"),
    *("background", "outpaint", "measure", "screen"),
)


def make_metrics(
    classes: tuple[str, ...] = CLASSES, seeds: int = 3, arms: tuple[str, ...] = ARMS
) -> dict[str, Any]:
    """What a finished run of 5 photos per class leaves in ``metrics.json``."""
    rng = np.random.default_rng(7)
    photos = {"train": 40, "val": 10, "test": 20}
    runs = [
        _run(arm, place, seed, classes) for place, arm in enumerate(arms) for seed in range(seeds)
    ]
    return {
        "name": "demo",
        "recipe": {"name": "demo", "profile": "classical", "outpaint": {"k": 2}, "plates": None},
        "profile": "classical",
        "synthset": "0.1.0",
        "classes": list(classes),
        "photos": {split: dict.fromkeys(classes, n) for split, n in photos.items()},
        "refused": [{"file": f"{classes[0]}/broken.jpg", "reason": "the file ends too early"}],
        "notes": ["2 photos are exact copies of others and were counted once"],
        "references": _references(classes),
        "arithmetic": {
            **{"views": 7, "t": 2, "c": 2, "k": 2, "per_photo": 112},
            **{"photos": 5 * len(classes), "total": 560 * len(classes)},
        },
        "stages": {
            stage: {
                **{"computed": int(rng.integers(15, 1680)), "cached": int(rng.integers(0, 90))},
                **{"rejected": 0, "cpu_s": float(rng.uniform(0.2, 60))},
            }
            for stage in STAGES
        },
        "rejects": {"near-duplicate of a sibling": 61, "object too small": 17},
        "datasets": {arm: _dataset(place, classes, seeds) for place, arm in enumerate(arms)},
        "runs": runs,
        "comparisons": [],
        "verdict": _verdict(arms, seeds, classes),
        "models": [],
        "plates_licences": [],
        "seconds": 412.6,
    }


def make_report(metrics: dict[str, Any] | None = None) -> ReportInput:
    """A whole report: sheets, samples, rejects and mistakes with pictures of every kind."""
    metrics = make_metrics() if metrics is None else metrics
    classes = metrics["classes"]
    samples = tuple(
        Thumb(draw_scene(place, 96, 96), "", classes[place % len(classes)]) for place in range(6)
    )
    return ReportInput(
        title="Demo: three kinds of things",
        metrics=metrics,
        sheets=tuple(make_sheet(one["name"], one["label"]) for one in metrics["references"][:3]),
        rejects=(
            RejectGroup("near-duplicate of a sibling", 61, samples[:4]),
            RejectGroup("object too small", 17, samples[:2]),
        ),
        dataset_samples=dict.fromkeys(metrics.get("datasets", {}), samples),
        test_samples=samples,
        misclassified=(Thumb(draw_scene(3, 96, 128), "taken for mug, 0.71", "sneaker"),),
    )


def make_sheet(reference: str = "mug/photo-1", label: str = "mug") -> Sheet:
    """A contact sheet with RGB, RGB + matte, mask and depth pictures in it."""
    photo, matte = draw_scene(1, 120, 96), draw_matte(120, 96)
    cut = np.dstack([photo, matte])
    depth = (matte.astype(np.uint16) * 200 + 40) * (matte > 0)
    views = tuple(
        Thumb(np.roll(cut, 3 * view, axis=1), f"{60 * view}°", f"view {view}") for view in range(7)
    )
    placed = tuple(
        Thumb(
            np.dstack([draw_scene(view, 96, 128), draw_matte(96, 128)]),
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
            SheetRow("segment", "the object's mask", (Thumb(matte > 127), Thumb(matte)), 14),
            SheetRow("depth", "nearer is brighter", (Thumb(depth.astype(np.uint16)),), 14),
            SheetRow(
                "background",
                "new scenes",
                (*placed[:2], Gap("no object found"), Gap(), *placed[2:4]),
                28,
                aligned=True,
                words=(("first prompt", "a photo of a mug"), ("to be avoided", "blurry")),
            ),
            SheetRow("outpaint", "the object at k × k places of the frame", placed, 112),
        ),
        columns=("view 0", "view 1", "view 2"),
    )


def draw_scene(seed: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A coloured disc on a sloped ground, RGB."""
    rng = np.random.default_rng(seed)
    top, bottom, paint = rng.integers(30, 230, (3, 3))
    slope = np.linspace(0, 1, height)[:, None, None]
    scene = np.broadcast_to(top * (1 - slope) + bottom * slope, (height, width, 3))
    inside = draw_matte(height, width)[..., None] / 255.0
    return np.rint(scene * (1 - inside) + paint * inside).astype(np.uint8)


def draw_matte(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A disc in the middle, soft at its rim."""
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y - height / 2, x - width / 2)
    return np.clip((min(height, width) * 0.35 - away) * 64 + 128, 0, 255).astype(np.uint8)


def _references(classes: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            **{"name": f"{label}/photo-{photo}", "label": label, "images": 112},
            **{"accepted": 112 - photo, "rejected": photo, "status": "computed", "reason": None},
        }
        for label in classes
        for photo in range(5)
    ]


def _dataset(place: int, classes: tuple[str, ...], seeds: int) -> dict[str, Any]:
    """The dataset's volume, and the first seed's scores with the figures' means over the seeds."""
    scored = [_scores(place, seed, classes) for seed in range(seeds)]
    means = {
        name: float(np.mean([one[name] for one in scored]))
        for name in ("accuracy", "f1_macro", "f1_weighted", "roc_auc")
    }
    spread = {"accuracy_low": means["accuracy"] - 0.045, "accuracy_high": means["accuracy"] + 0.04}
    return {
        "train": dict.fromkeys(classes, 40),
        "val": dict.fromkeys(classes, 10),
        "seeds": seeds,
        "val_scores": {"accuracy": 0.9},
        "test": {**scored[0], **means, **spread},
    }


def _verdict(arms: tuple[str, ...], seeds: int, classes: tuple[str, ...]) -> dict[str, Any]:
    """The verdict that a run would reach over these trainings."""
    tried = [
        DatasetPredictions(
            name,
            _truth(classes),
            np.stack([_probabilities(place, seed, classes) for seed in range(seeds)]),
            classes,
        )
        for place, name in enumerate(arms)
    ]
    return conclude(tried).model_dump(mode="json") if "real" in arms and len(arms) > 1 else {}


def _truth(classes: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.repeat(np.arange(len(classes)), 20)


def _probabilities(
    place: int, seed: int, classes: tuple[str, ...]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng([place, seed])
    truth = _truth(classes)
    logits = rng.normal(0, 1, (len(truth), len(classes)))
    logits[np.arange(len(truth)), truth] += (2.0, 1.7, 3.4, 1.2)[place % 4] + rng.normal(0, 0.1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.asarray(probabilities, np.float32)


def _scores(place: int, seed: int, classes: tuple[str, ...]) -> dict[str, Any]:
    probabilities = _probabilities(place, seed, classes)
    return dict(score(_truth(classes).tolist(), probabilities, list(classes)))


def _run(arm: str, place: int, seed: int, classes: tuple[str, ...]) -> dict[str, Any]:
    rng = np.random.default_rng([place, seed, 1])
    epochs = np.arange(12)
    rise = 1 - np.exp(-epochs / (2.5 + place * 0.5))
    val = 0.35 + 0.52 * rise + rng.normal(0, 0.015, 12)
    history = {
        "epoch": epochs.tolist(),
        "learning_rate": [0.01 * 0.1 ** (epoch // 5) for epoch in range(12)],
        "train_loss": (1.1 - rise + rng.uniform(0, 0.05, 12)).tolist(),
        "val_loss": (1.15 - 0.8 * rise + rng.uniform(0, 0.08, 12)).tolist(),
        "train_accuracy": np.minimum(0.4 + 0.58 * rise, 1).tolist(),
        "val_accuracy": val.tolist(),
        "val_f1_macro": (val - 0.01).tolist(),
        "val_f1_weighted": (val - 0.005).tolist(),
    }
    return {
        **{"arm": arm, "seed": seed, "network": "small_cnn", "epochs": 12, "seconds": 21.5},
        **{"best_epoch": int(val.argmax()), "history": history},
        **{"val": {"f1_macro": float(val.max())}, "test": _scores(place, seed, classes)},
    }
