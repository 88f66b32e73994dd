"""Select: which accepted images of a generator are enough like the real photos of their class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from models.data.pixels import Floats
from models.data.records import Artifact, Record, Sample
from models.quality.distances import Matrix
from models.quality.select import Indices, Step, best_of, reduce_distance, similarity
from tasks.embed.embed import load_features, one_document
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage

# What is known of an image or photo, by name.
Row = Mapping[str, Any]
# Fewer images, or train photos, of a class are not compared as sets.
LEAST_SET = 4
WRONG_CLASS = "more like another class"
NOT_THE_BEST = "less like the photos of its class than a sibling"
NOT_CHOSEN = "less like the photos of its class than the images that are kept"


class Select(Record):
    """Which images stay, by the features of the embedded backbone. Test photos take no part."""

    own_class: bool = Field(
        True, description="Reject an image that is more like the photos of another class."
    )
    best_of: int = Field(
        1, ge=1, description="Of so many images made of the same photos, keep the most alike one."
    )
    method: Literal["similarity", "distance"] = Field(
        "similarity",
        description="similarity: keep the images most like train photos; distance: leave images "
        "out while the kernel distance of the set to val photos falls.",
    )
    keep: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of each class's images: what similarity keeps, and the least that "
        "distance keeps.",
    )


def one_per_generator(
    _parameters: Select, samples: Sequence[Sample], embedded: Sequence[Artifact]
) -> list[Job]:
    """One document over the images of one generator, and the train and val photos."""
    names = dict.fromkeys(sample.generator for sample in samples if sample.generator)
    return one_document(samples, embedded, " + ".join(names) or "none")


@stage("select", version=1, media="json", plan=one_per_generator, cost=Cost(ms=1000))
def select(inputs: Sequence[StageInput], parameters: Select) -> Iterator[StageOutput]:
    """``{"images": {id: {"similarity", "reason"}}, "classes": [...]}``.

    ``classes`` has per class its ``label``, ``images``, ``kept`` and, for the method ``distance``,
    the ``curve``: rows of images, distance to train photos, and to val photos or null.
    """
    for item in inputs:
        rows = [artifact.metadata for artifact in item.job.inputs]
        features = np.stack([load_features(item.run, artifact) for artifact in item.job.inputs])
        yield StageOutput(select_rows(rows, features, parameters))


def select_rows(
    rows: Sequence[Row], features: Floats, parameters: Select
) -> dict[str, dict[str, Any] | list[dict[str, Any]]]:
    """What `select` writes.

    Args:
        rows: image, label, split, generator and source of each image and photo; the generator of a
            photo is empty.
        features: float (rows, values).
    """
    images: dict[str, Any] = {}
    classes: list[dict[str, Any]] = []
    labels = sorted({row["label"] for row in rows})
    train = {label: features[_find(rows, label, "train")] for label in labels}
    for label in labels:
        places = [at for at, row in enumerate(rows) if row["generator"] and row["label"] == label]
        if not places:
            continue
        sources = [rows[at]["source"] for at in places]
        val = features[_find(rows, label, "val")]
        found, curve = _select_class(features[places], label, train, val, sources, parameters)
        images |= {rows[at]["image"]: entry for at, entry in zip(places, found, strict=True)}
        kept = sum(entry["reason"] is None for entry in found)
        classes.append({"label": label, "images": len(places), "kept": kept, "curve": curve})
    return {"images": images, "classes": classes}


def _find(rows: Sequence[Row], label: str, split: str) -> list[int]:
    """The indices of the real photos of a class and split."""
    return [
        at
        for at, row in enumerate(rows)
        if not row["generator"] and (row["label"], row["split"]) == (label, split)
    ]


def _select_class(
    images: Floats,
    label: str,
    train: Mapping[str, Floats],
    val: Floats,
    sources: Sequence[str],
    parameters: Select,
) -> tuple[list[dict[str, Any]], list[Step]]:
    """The similarity of each image and why it is rejected, and the curve of the distance."""
    if not len(train[label]):
        return [{"similarity": None, "reason": None} for _ in images], []
    own = similarity(images, train[label])
    reasons: list[str | None] = [None] * len(images)
    if parameters.own_class:
        for other, photos in train.items():
            if other == label or not len(photos):
                continue
            for at in np.flatnonzero(similarity(images, photos) > own):
                reasons[at] = reasons[at] or f"{WRONG_CLASS}: {other}"
    left = _places(reasons)
    best = best_of(own[left], [sources[at] for at in left], parameters.best_of)
    _reject(reasons, left, left[best], NOT_THE_BEST)
    left = _places(reasons)
    chosen, curve = _select_set(images[left], own[left], train[label], val, parameters)
    _reject(reasons, left, left[chosen], NOT_CHOSEN)
    rows = zip(own, reasons, strict=True)
    return [{"similarity": round(float(x), 5), "reason": reason} for x, reason in rows], curve


def _select_set(
    images: Floats, own: Matrix, train: Floats, val: Floats, parameters: Select
) -> tuple[Indices, list[Step]]:
    least = -(-len(images) * parameters.keep // 1)
    if parameters.method == "similarity":
        return np.sort(np.argsort(-own, kind="stable")[: int(least)]), []
    if min(len(images), len(train)) < LEAST_SET:
        return np.arange(len(images)), []
    reduced = reduce_distance(images, train, val, max(2, int(least)))
    return reduced.kept, list(reduced.curve)


def _places(reasons: Sequence[str | None]) -> Indices:
    return np.array([at for at, reason in enumerate(reasons) if reason is None], np.intp)


def _reject(reasons: list[str | None], before: Indices, kept: Indices, reason: str) -> None:
    for at in np.setdiff1d(before, kept):
        reasons[at] = reason
