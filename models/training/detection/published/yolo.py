"""Training of YOLO detectors by ultralytics in a process of its own, and what they find.

A training takes the same number of steps as those of other detectors, and shows the same photos
equally often. The epoch with the best AP50 on val is kept, as ultralytics measures it. A training
that was killed continues from its last epoch with the averaged weights that ultralytics saves, so
its figures differ from those of a training that was not interrupted.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from models.data.files import write_atomic
from models.training.detection.data import BoxedImages
from models.training.detection.detector import Detections
from models.training.detection.module import checkpoint_metadata
from models.training.detection.published.yolo_data import write_training_set
from models.training.detection.published.yolo_process import interpreter, run_yolo
from models.training.detection.published.yolo_program import BEST as BEST_WEIGHTS
from models.training.detection.settings import DetectionParameters
from models.training.epoch_module import TrainingDivergedError
from models.training.history import DetectionEpoch, TrainedModel, best_epoch
from models.training.lightning_trainer import BEST
from models.training.resumable import (
    SETTINGS_FILE,
    check_folder,
    check_machine,
    read_result,
    read_weights,
    write_result,
)
from models.training.sampler import FixedStepsSampler

WORK, DATASET = "yolo", "dataset"
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
# ultralytics' own changes of train images; crop leaves all of them as they are.
_COLOURS = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}
_FLIP = {**_COLOURS, "translate": 0.0, "scale": 0.0, "mosaic": 0.0}
AUGMENTATIONS = {"none": {**_FLIP, "fliplr": 0.0}, "flip": _FLIP, "crop": {}}
MOST_OBJECTS = 100
# Below this score ultralytics finds thousands of boxes, and takes seconds to compare them.
LOWEST_SCORE = 0.001


def check_yolo(parameters: DetectionParameters) -> None:
    """Check that this machine can train with these settings.

    Raises:
        ValueError: there is no ultralytics, the weights file is missing, or this machine lacks the
            precision.
    """
    check_machine(parameters)
    interpreter()


def train_yolo(
    train: BoxedImages,
    val: BoxedImages,
    described: dict[str, Any],
    parameters: DetectionParameters,
    folder: Path,
    *,
    groups: Sequence[int],
    pools: Sequence[Sequence[int]] = (),
    progress: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train a YOLO detector, or continue; a finished training is returned as it is.

    Args:
        described: what decides the weights: the settings, ``seed``, ``classes`` and digests.
        groups: the group of each train image; each group gives as many draws.
        pools: numbers of train images; the pools take turns in place of the groups. Empty: none.

    Raises:
        TrainingDivergedError: the loss became infinite.
        ValueError: there is no ultralytics, it failed, or the folder holds another training.
    """
    check_folder(folder, described)
    finished = read_result(folder)
    if finished is not None:
        return finished
    check_yolo(parameters)
    write_atomic(folder / SETTINGS_FILE, json.dumps(described, indent=1).encode())
    steps = parameters.steps_per_epoch or -(-len(train.files) // parameters.batch_size)
    seed, classes = described["seed"], described["classes"]
    draws = FixedStepsSampler(groups, steps * parameters.batch_size, seed, pools=pools)
    work = folder / WORK
    data = write_training_set(work / DATASET, train, val, classes, [index for index, _ in draws])
    job = {
        "folder": str(work.absolute()),
        "metadata": checkpoint_metadata(parameters, classes),
        "options": _training_options(parameters, seed, data),
    }
    rows = _follow(job, parameters.threads, progress)
    os.replace(work / BEST_WEIGHTS, folder / BEST)
    history = tuple(_epoch_of(row) for row in rows)
    trained = TrainedModel(
        network=parameters.network,
        parameters_count=rows[0]["parameters"],
        classes=tuple(classes),
        seed=seed,
        train_images=len(train.files),
        steps_per_epoch=steps,
        epochs_run=len(history),
        best_epoch=best_epoch(history),
        history=history,
        checkpoint=folder / BEST,
        seconds=round(sum(row["seconds"] for row in rows), 3),
    )
    write_result(trained, folder)
    shutil.rmtree(work / DATASET)
    return trained


def _follow(
    job: dict[str, Any], threads: int | None, progress: Callable[[int], None] | None
) -> list[dict[str, Any]]:
    """Train, and pass on the number of each epoch that is on disk."""
    rows = []
    for row in run_yolo("train", job, threads):
        rows.append(row)
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            raise TrainingDivergedError(
                f"training diverged in epoch {row['epoch']}: the loss on train is "
                f"{row['train_loss']}, on val {row['val_loss']}; lower learning_rate "
                f"(now {row['learning_rate']:g})"
            )
        if progress is not None and not row["is_resumed"]:
            progress(row["epoch"])
    return rows


def find_with_yolo(
    checkpoint: Path,
    images: Sequence[Path],
    parameters: DetectionParameters,
    classes: Sequence[str],
) -> list[tuple[Detections, tuple[int, int]]]:
    """What a trained detector finds in each photo, in its px, and the photo's width and height.

    Raises:
        ValueError: the checkpoint is of another network or other classes, there is no ultralytics,
            or it failed.
    """
    read_weights(checkpoint, checkpoint_metadata(parameters, classes))
    # Where the program fails, its log stays there.
    folder = tempfile.mkdtemp(prefix="synthset-yolo-")
    job = {
        "folder": folder,
        "checkpoint": str(checkpoint.absolute()),
        "images": [str(path.absolute()) for path in images],
        "options": {
            "model": f"{parameters.network}.yaml",
            "imgsz": parameters.image_size,
            "conf": max(parameters.score_threshold, LOWEST_SCORE),
            "iou": parameters.nms_threshold,
            "max_det": MOST_OBJECTS,
            "device": _device(),
        },
    }
    found = list(run_yolo("predict", job, parameters.threads))
    shutil.rmtree(folder)
    return [(_detections_of(row["objects"]), tuple(row["size"])) for row in found]


def _training_options(parameters: DetectionParameters, seed: int, data: Path) -> dict[str, Any]:
    """The settings in ultralytics' words; an optimiser's step is one batch, as elsewhere."""
    weights = parameters.weights_file
    return {
        **{"task": "detect", "model": f"{parameters.network}.yaml", "data": str(data)},
        "pretrained": False if weights is None else str(weights.absolute()),
        **{"epochs": parameters.epochs, "imgsz": parameters.image_size, "seed": seed},
        **{"batch": parameters.batch_size, "nbs": parameters.batch_size},
        **{"workers": parameters.workers, "device": _device(), "amp": _precision(parameters)},
        **{"optimizer": OPTIMIZERS[parameters.optimizer], "momentum": 0.9, "cos_lr": True},
        **{"lr0": parameters.learning_rate, "weight_decay": parameters.weight_decay},
        "patience": parameters.early_stopping_patience or 0,
        **{"deterministic": True, "plots": False, "val": True, "verbose": True},
        **AUGMENTATIONS[parameters.augment],
    }


def _device() -> str:
    return "0" if torch.cuda.is_available() else "cpu"


def _precision(parameters: DetectionParameters) -> bool | str:
    """ultralytics' ``amp``: bf16 needs no trial, for which ultralytics would fetch a network."""
    if parameters.precision == "auto" and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else True
    choices: dict[str, bool | str] = {"16-mixed": True, "bf16-mixed": "bf16"}
    return choices.get(parameters.precision, False)


def _epoch_of(row: dict[str, Any]) -> DetectionEpoch:
    return DetectionEpoch.model_validate({name: row[name] for name in DetectionEpoch.model_fields})


def _detections_of(rows: Sequence[Sequence[float]]) -> Detections:
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Detections(table[:, 2:], table[:, 0].long(), table[:, 1])
