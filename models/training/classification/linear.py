"""A linear classifier on the frozen features of the embedded backbone.

Multinomial logistic regression on standardised features, as in the linear evaluation of Kornblith
et al. 2019 (https://arxiv.org/abs/1805.08974, section 3). It learns from the train images and from
a fixed number of augmented ones. Of a few strengths of regularisation, val chooses the one to keep:
the best macro F1, then the lowest loss, then the strongest regularisation. The val photos are the
same for all trainings of a run.
"""

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from models.data.files import write_atomic
from models.data.pixels import Floats
from models.data.square import read_square
from models.embedding.backbone import IMAGE_SIZE, embed
from models.embedding.cache import embed_files
from models.embedding.weights import CHECKPOINT, NETWORK
from models.training.classification.augment import augment
from models.training.classification.train import check_sets
from models.training.history import EpochRecord, TrainedModel
from models.training.lightning_trainer import BEST
from models.training.sampler import FixedStepsSampler
from models.training.settings import TrainingParameters
from models.training.task import LabelledImages, Truth

# The inverse strengths of regularisation (scikit-learn's C) that val chooses from.
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
MAX_ITERATIONS = 1000
# Augmented images in memory at a time, 150 KB each.
AT_ONCE = 256
Labels = npt.NDArray[np.int64]
# mean and scale (features,), weight (classes, features), bias (classes,).
Head = dict[str, Floats]


def train_linear(
    train: LabelledImages,
    val: LabelledImages,
    classes: Sequence[str],
    parameters: TrainingParameters,
    seed: int,
    folder: Path,
    *,
    groups: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
    truth: Truth | None = None,
) -> TrainedModel:
    """Train a linear classifier; arguments and result are those of `train_once`.

    The seed decides the augmented images alone. Without any, all seeds give the same classifier.

    Raises:
        EmbeddedWeightsError: the package with the backbone's weights is missing or changed.
        ValueError: a photo is unreadable.
    """
    started = time.monotonic()
    check_sets(train, val, classes)
    folder.mkdir(parents=True, exist_ok=True)
    groups = list(groups or [0] * len(train))
    features, labels, group_of = _train_features(train, groups, parameters, seed)
    held_out = embed_files([path for path, _ in val])
    val_labels = np.array([label for _, label in val], np.int64)
    # The order of additions depends on the number of threads.
    with threadpool_limits(1):
        scaler = StandardScaler().fit(features)
        heads = [
            _fit(scaler, features, labels, _weights(group_of), strength) for strength in STRENGTHS
        ]
        figures = [_measure(head, held_out, val_labels) for head in heads]
        best = max(
            range(len(heads)), key=lambda at: (figures[at]["f1_macro"], -figures[at]["loss"])
        )
        on_train = _measure(heads[best], features, labels)
    record = {f"val_{name}": value for name, value in figures[best].items()}
    record |= {f"train_{name}": value for name, value in on_train.items()}
    _save(folder / BEST, heads[best], classes)
    if progress is not None:
        progress(0)
    return TrainedModel(
        network=f"linear on {NETWORK}",
        parameters_count=sum(heads[best][name].size for name in ("weight", "bias")),
        classes=tuple(classes),
        seed=seed,
        train_images=len(train),
        steps_per_epoch=1,
        epochs_run=1,
        best_epoch=0,
        history=(EpochRecord(epoch=0, learning_rate=STRENGTHS[best], **record),),
        checkpoint=folder / BEST,
        seconds=round(time.monotonic() - started, 3),
    )


def predict_linear(checkpoint: Path, images: Sequence[Path], classes: Sequence[str]) -> Floats:
    """The probabilities of each class, float32 (n, classes), for photos.

    Raises:
        ValueError: the checkpoint is of other classes, or a photo is unreadable.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    known = saved["classifier"]
    if known.get("kind") != "linear" or known["classes"] != list(classes):
        raise ValueError(
            f"{checkpoint}: trained with classes {known.get('classes')}, not as a linear "
            f"classifier of {list(classes)}; give the parameters and classes it was trained with"
        )
    head = {name: tensor.numpy() for name, tensor in saved["head"].items()}
    with threadpool_limits(1):
        logits = _logits(head, embed_files(list(images)))
    return np.asarray(softmax(logits, axis=1), np.float32)


def _train_features(
    train: LabelledImages, groups: Sequence[int], parameters: TrainingParameters, seed: int
) -> tuple[Floats, Labels, Labels]:
    """Features, labels and groups of the train images, then of the augmented ones.

    Augmented images are drawn as `FixedStepsSampler` says: in turn over the groups, and equally
    often from each image of a group.
    """
    features = embed_files([path for path, _ in train])
    copies = 0 if parameters.augment == "none" else parameters.linear_copies
    draws = list(FixedStepsSampler(groups, copies, seed))
    rows = [*range(len(train)), *(index for index, _ in draws)]
    labels = np.array([train[row][1] for row in rows], np.int64)
    group_of = np.array([groups[row] for row in rows], np.int64)
    parts = [features]
    for first in range(0, len(draws), AT_ONCE):
        squares = [
            augment(
                read_square(train[index][0], IMAGE_SIZE),
                parameters.augment,
                np.random.default_rng([seed, draw]),
                parameters.augment_ranges,
            )
            for index, draw in draws[first : first + AT_ONCE]
        ]
        parts.append(embed(squares))
    return np.concatenate(parts), labels, group_of


def _weights(group_of: Labels) -> npt.NDArray[np.float64]:
    """The weight of each image, 1 on average: all groups have the same sum."""
    counts = np.bincount(group_of)
    return len(group_of) / (np.count_nonzero(counts) * counts[group_of])


def _fit(
    scaler: StandardScaler,
    features: Floats,
    labels: Labels,
    weights: npt.NDArray[np.float64],
    strength: float,
) -> Head:
    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    model.fit(scaler.transform(features), labels, sample_weight=weights)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two classes: scikit-learn has one row, the logit of the second class
        weight, bias = np.concatenate([0 * weight, weight]), np.array([0.0, bias[0]])
    head = {"mean": scaler.mean_, "scale": scaler.scale_, "weight": weight, "bias": bias}
    return {name: np.asarray(values, np.float32) for name, values in head.items()}


def _logits(head: Head, features: Floats) -> Floats:
    scaled = (features - head["mean"]) / head["scale"]
    return np.asarray(scaled @ head["weight"].T + head["bias"], np.float32)


def _measure(head: Head, features: Floats, truth: Labels) -> dict[str, float]:
    logits = _logits(head, features).astype(np.float64)
    predicted, labels = logits.argmax(axis=1), range(len(head["bias"]))
    loss = -log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean()
    averages = {
        f"f1_{average}": f1_score(truth, predicted, labels=labels, average=average, zero_division=0)
        for average in ("macro", "weighted")
    }
    values = {"loss": loss, "accuracy": (predicted == truth).mean(), **averages}
    return {name: round(float(value), 6) for name, value in values.items()}


def _save(path: Path, head: Head, classes: Sequence[str]) -> None:
    content = {
        "classifier": {"kind": "linear", "backbone": CHECKPOINT, "classes": list(classes)},
        "head": {name: torch.from_numpy(values) for name, values in head.items()},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())
