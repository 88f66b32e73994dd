"""The metrics of a run from the predictions of its networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.records import Annotation, Artifact, SourceImage, Sources, Split
from models.data.specs import Origin
from models.evaluation.classification import score
from models.reporting.metrics import Cost, Metrics, StageMetrics
from tasks.engine.run_context import RunContext
from tasks.report.data import DatasetSummary, ReferenceSummary, RunSummary
from tasks.report.metrics import gather_metrics
from tasks.store.store import open_store

CLASSES = ["mug", "shoe"]
TRUTH = [0, 0, 0, 1, 1, 1]
SEEDS = 2
ORIGINS = {
    "few_shot": Origin(photos="references", photos_per_class=5),
    "few_shot_crop": Origin(photos="references", photos_per_class=5),
    "synthetic": Origin(synthetic=True, photos="references", photos_per_class=5),
    "mixed": Origin(synthetic=True, photos="some", photos_per_class=40),
}


def artifact(stage: str, key: str, **fields: Any) -> Artifact:
    return Artifact(
        key=key, stage=stage, version=1, name="mug/a", media="png", digest=key, size=1, **fields
    )


def predictions(skill: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(TRUTH), 2))
    logits[np.arange(len(TRUTH)), TRUTH] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    split = {
        "truth": TRUTH,
        "probabilities": probabilities.tolist(),
        "images": [f"photo {index}" for index in range(len(TRUTH))],
    }
    return {"classes": CLASSES, "val": split, "test": split}


def summarise(
    names: tuple[str, ...], trained: tuple[str, ...]
) -> tuple[RunSummary, dict[str, Any]]:
    """The summary of a run, and the predictions of its checkpoints by artifact id."""
    epoch = {"epoch": 0, "val_loss": 0.5}
    metadata = {
        "history": [epoch, epoch | {"epoch": 1}],
        "network": "small_cnn",
        "parameters_count": 10,
        "epochs_run": 2,
        "steps_per_epoch": 3,
        "best_epoch": 1,
        "epoch_choices": [{"epochs": 2, "val_score": 0.5}, {"epochs": 4, "val_score": 0.25}],
        "seconds": 1.5,
    }
    checkpoints, scores, contents = [], [], {}
    for position, name in enumerate(trained):
        for seed in range(SEEDS):
            key = f"{name}-{seed}"
            variant: dict[str, int | str] = {"dataset": name, "seed": seed}
            document = (artifact("dataset", name).id,)
            checkpoints.append(
                artifact("train", key, variant=variant, metadata=metadata, parents=document)
            )
            scores.append(artifact("score", key))
            contents[scores[-1].id] = predictions(0.5 + position, seed)
    splits: tuple[Split, ...] = ("train", "test")
    photos = tuple(
        SourceImage(
            name=f"{label}/{split}",
            file="",
            split=split,
            image=artifact("ingest", f"{label}-{split}"),
            annotations=(Annotation(label=label),),
        )
        for label in CLASSES
        for split in splits
    )
    summary = RunSummary(
        name="demo",
        profile="classical",
        recipe={"name": "demo"},
        photos=Sources(images=photos, refused=(("a.txt", "no image"),), notes=("note",)),
        references=(
            ReferenceSummary(
                name="mug/train",
                label="mug",
                status="computed",
                key="abc",
                images=4,
                accepted=3,
                rejected=1,
            ),
        ),
        stages={"augment": StageMetrics(cpu_s=30), "outpaint": StageMetrics(cpu_s=10)},
        rejects={"blurry": 1},
        warnings=("warning",),
        datasets={
            name: DatasetSummary(
                description=f"all {name}",
                train={"mug": 3, "shoe": 3},
                val={"mug": 1, "shoe": 1},
                document=artifact("dataset", name),
                origin=ORIGINS.get(name, Origin()),
            )
            for name in names
        },
        test=artifact("dataset", "test"),
        checkpoints=tuple(checkpoints),
        scores=tuple(scores),
    )
    return summary, contents


def gather(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    trained: tuple[str, ...],
) -> tuple[Metrics, dict[str, Any]]:
    summary, contents = summarise(names, trained)
    run = RunContext(open_store(tmp_path / "store"), "test")
    monkeypatch.setattr(run, "load", lambda artifact: contents[artifact.id])
    return gather_metrics(run, summary), contents


def test_scores_and_counts_are_means_over_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("real", "half", "hybrid")
    metrics, contents = gather(tmp_path, monkeypatch, names, names)
    for name in names:
        by_seed = [
            score(TRUTH, np.asarray(content["test"]["probabilities"], np.float32), CLASSES)
            for content in (contents[f"score/{name}-{seed}"] for seed in range(SEEDS))
        ]
        test = metrics.datasets[name].test
        assert test is not None
        assert test.f1_macro == pytest.approx(np.mean([scores.f1_macro for scores in by_seed]))
        assert test.images == len(TRUTH)
        assert test.per_class["mug"].support == 3
        assert np.sum(test.confusion) == pytest.approx(len(TRUTH))
        runs = [run for run in metrics.runs if run.dataset == name]
        assert [run.test.accuracy for run in runs] == [scores.accuracy for scores in by_seed]
        assert runs[0].history == {"epoch": (0.0, 1.0), "val_loss": (0.5, 0.5)}
        assert runs[0].epoch_choices == {"2": 0.5, "4": 0.25}
    assert list(metrics.datasets) == list(names)
    assert metrics.datasets["half"].description == "all half"
    assert Metrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_synthetic_images_are_compared_with_every_rival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("few_shot", "few_shot_crop", "synthetic", "real", "mixed")
    metrics, _ = gather(tmp_path, monkeypatch, names, names)
    assert [(gap.dataset_a, gap.dataset_b) for gap in metrics.comparisons] == [
        ("synthetic", "few_shot_crop"),
        ("synthetic", "few_shot"),
        ("mixed", "real"),
    ]
    assert metrics.verdict is not None
    assert [answer.photos_per_class for answer in metrics.verdict.answers] == [5]


def test_costs_are_those_of_generation_and_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("few_shot", "synthetic")
    metrics, _ = gather(tmp_path, monkeypatch, names, names)
    assert metrics.costs["few_shot"] == Cost(generation_s=0.0, training_s=1.5)
    cost = metrics.costs["synthetic"]
    assert (cost.generation_s, cost.training_s, cost.rival) == (40.0, 1.5, "few_shot")
    (gap,) = metrics.comparisons
    assert cost.seconds_per_point == pytest.approx(40 / (100 * gap.difference), abs=0.01)


def test_recipes_that_looked_at_a_test_set_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [
        gather(tmp_path, monkeypatch, names, names)[0].test_looks
        for names in (("real",), ("real",), ("real", "mixed"))
    ]
    assert looks == [1, 1, 2]


def test_a_run_without_training_has_volumes_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, _ = gather(tmp_path, monkeypatch, ("real", "half"), ())
    assert metrics.verdict is None
    assert metrics.comparisons == ()
    assert metrics.datasets["half"].test is None
    assert metrics.datasets["half"].train == {"mug": 3, "shoe": 3}
    assert metrics.photos["test"] == {"mug": 1, "shoe": 1}
    assert metrics.refused[0].file == "a.txt"
    assert metrics.notes == ("warning", "note")
    assert metrics.references[0].rejected == 1
