"""Select: which accepted images of a generator are enough like the real photos of their class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from models.data.pixels import Floats
from models.data.records import Artifact, Record, Sample
from models.quality.distances import Matrix
from models.quality.select import Indices, Step, best_of, reduce_distance, similarity
from tasks.embed.embed import Embed, EmbedBackbone, load_features, one_document
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage

# What is known of an image or photo, by name.
Row = Mapping[str, Any]
# Fewer images, or train photos, of a class are not compared as sets.
LEAST_SET = 4
WRONG_CLASS = "more like another class"
WRONG_NAME = "more like the name of another class"
NOT_THE_BEST = "less like the photos of its class than a sibling"
NOT_CHOSEN = "less like the photos of its class than the images that are kept"


class Select(Record):
    """Which images stay, by the features of a network. Test photos take no part."""

    features: Embed = Field(EmbedBackbone(), description="The network that compares images.")
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
    _parameters: Select,
    samples: Sequence[Sample],
    embedded: Sequence[Artifact],
    names: Mapping[str, Artifact],
) -> list[Job]:
    """One document over the images of one generator, and the train and val photos.

    Args:
        names: per class, the features of its name; empty: images are not compared with names.
    """
    generators = dict.fromkeys(sample.generator for sample in samples if sample.generator)
    (job,) = one_document(samples, embedded, " + ".join(generators) or "none")
    named = tuple(
        artifact.model_copy(update={"metadata": {"name_of": label}})
        for label, artifact in names.items()
    )
    return [replace(job, inputs=job.inputs + named)]


@stage("select", version=2, media="json", plan=one_per_generator, cost=Cost(ms=1000))
def select(inputs: Sequence[StageInput], parameters: Select) -> Iterator[StageOutput]:
    """``{"images": {id: {"similarity", "name_similarity", "reason"}}, "classes": [...]}``.

    ``classes`` has per class its ``label``, ``images``, ``kept`` and, for the method ``distance``,
    the ``curve``: rows of images, distance to train photos, and to val photos or null.
    ``name_similarity`` is there where images are compared with the names of classes.
    """
    for item in inputs:
        features = np.stack([load_features(item.run, artifact) for artifact in item.job.inputs])
        known = [artifact.metadata for artifact in item.job.inputs]
        rows = [row for row in known if "name_of" not in row]
        names = {row["name_of"]: features[at] for at, row in enumerate(known) if "name_of" in row}
        yield StageOutput(select_rows(rows, features[: len(rows)], parameters, names))


def select_rows(
    rows: Sequence[Row],
    features: Floats,
    parameters: Select,
    names: Mapping[str, Floats] | None = None,
) -> dict[str, dict[str, Any] | list[dict[str, Any]]]:
    """What `select` writes.

    Args:
        rows: image, label, split, generator and source of each image and photo; the generator of a
            photo is empty.
        features: float (rows, values).
        names: per class the features of its name, float (values,).
    """
    images: dict[str, Any] = {}
    classes: list[dict[str, Any]] = []
    labels = sorted({row["label"] for row in rows})
    train = {label: features[_find(rows, label, "train")] for label in labels}
    named = {label: name[np.newaxis] for label, name in (names or {}).items()}
    for label in labels:
        places = [at for at, row in enumerate(rows) if row["generator"] and row["label"] == label]
        if not places:
            continue
        sources = [rows[at]["source"] for at in places]
        val, made = features[_find(rows, label, "val")], features[places]
        reasons = _compare_classes(made, label, named, WRONG_NAME)
        own, curve = _select_class(made, label, train, val, sources, parameters, reasons)
        scores = {"similarity": own, "name_similarity": _similarity(made, named.get(label))}
        for at, place in enumerate(places):
            found = {name: round(float(x[at]), 5) for name, x in scores.items() if x is not None}
            entry = {"similarity": None, **found, "reason": reasons[at]}
            images[rows[place]["image"]] = entry
        kept = sum(reason is None for reason in reasons)
        classes.append({"label": label, "images": len(places), "kept": kept, "curve": curve})
    return {"images": images, "classes": classes}


def _find(rows: Sequence[Row], label: str, split: str) -> list[int]:
    """The indices of the real photos of a class and split."""
    return [
        at
        for at, row in enumerate(rows)
        if not row["generator"] and (row["label"], row["split"]) == (label, split)
    ]


def _similarity(images: Floats, features: Floats | None) -> Matrix | None:
    """`similarity`, or None without features to compare with."""
    return None if features is None or not len(features) else similarity(images, features)


def _compare_classes(
    images: Floats, label: str, known: Mapping[str, Floats], reason: str
) -> list[str | None]:
    """Per image the reason and the class, if it is more like what is known of another class."""
    reasons: list[str | None] = [None] * len(images)
    own = _similarity(images, known.get(label))
    for other, features in known.items():
        found = None if other == label else _similarity(images, features)
        if own is not None and found is not None:
            for at in np.flatnonzero(found > own):
                reasons[at] = reasons[at] or f"{reason}: {other}"
    return reasons


def _select_class(
    images: Floats,
    label: str,
    train: Mapping[str, Floats],
    val: Floats,
    sources: Sequence[str],
    parameters: Select,
    reasons: list[str | None],
) -> tuple[Matrix | None, list[Step]]:
    """The similarity of each image, and the curve of the distance; adds to the reasons."""
    own = _similarity(images, train[label])
    if own is None:
        return None, []
    if parameters.own_class:
        for at, reason in enumerate(_compare_classes(images, label, train, WRONG_CLASS)):
            reasons[at] = reasons[at] or reason
    left = _places(reasons)
    best = best_of(own[left], [sources[at] for at in left], parameters.best_of)
    _reject(reasons, left, left[best], NOT_THE_BEST)
    left = _places(reasons)
    chosen, curve = _select_set(images[left], own[left], train[label], val, parameters)
    _reject(reasons, left, left[chosen], NOT_CHOSEN)
    return own, curve


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
