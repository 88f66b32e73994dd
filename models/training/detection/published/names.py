"""The detectors of other libraries that a recipe may name; importing this imports no torch."""

from dataclasses import dataclass
from typing import Literal, get_args

from models.training.settings import TrainingParameters

DetrNetwork = Literal["rtdetr_v2_r18vd", "dfine_small", "rfdetr_nano"]
YoloNetwork = Literal["yolov5s", "yolov8n", "yolov8m"]
YOLO_NETWORKS: tuple[str, ...] = get_args(YoloNetwork)


@dataclass(frozen=True)
class PublishedDetector:
    """A detector of transformers.

    Args:
        checkpoint: its id in the catalog.
        kind: its class in transformers.
        heads: prefixes of the names of its weights that depend on the classes.
        smallest: smallest side of its input, px. Below it there are fewer places than queries.
        is_normalised: whether it learned from images with the mean and deviation of ImageNet; if
            not, from values 0..1.
    """

    checkpoint: str
    kind: str
    heads: tuple[str, ...]
    smallest: int
    is_normalised: bool = False


_QUERIES = ("model.enc_score_head.", "model.decoder.class_embed.", "model.denoising_class_embed.")
DETR_NETWORKS: dict[str, PublishedDetector] = {
    "rtdetr_v2_r18vd": PublishedDetector(
        "PekingU/rtdetr_v2_r18vd",
        "RTDetrV2ForObjectDetection",
        (*_QUERIES, "class_embed."),
        smallest=128,
    ),
    "dfine_small": PublishedDetector(
        "ustc-community/dfine-small-coco",
        "DFineForObjectDetection",
        (*_QUERIES, "class_embed."),
        smallest=128,
    ),
    "rfdetr_nano": PublishedDetector(
        "Roboflow/rf-detr-nano",
        "RfDetrForObjectDetection",
        ("class_embed.", "model.enc_out_class_embed."),
        smallest=288,
        is_normalised=True,
    ),
}


def find_fault(settings: TrainingParameters) -> str | None:
    """Why a detector of another library can't be trained with these settings, or None."""
    if settings.network in YOLO_NETWORKS:
        return _find_fault_of_yolo(settings)
    if settings.network in DETR_NETWORKS:
        return _find_fault_of_detr(settings, DETR_NETWORKS[settings.network])
    return None


def _find_fault_of_yolo(settings: TrainingParameters) -> str | None:
    name = settings.network
    if settings.pretrained and settings.weights_file is None:
        return (
            f"network: {name} comes without weights; give weights_file, a .pt file of "
            "ultralytics, or set pretrained to false"
        )
    if settings.weights_file is not None and settings.weights_file.suffix != ".pt":
        return f"weights_file: {settings.weights_file} is no .pt file of ultralytics; give one"
    if settings.schedule != "onecycle":
        return f"schedule: {name} has onecycle alone, not {settings.schedule}; use onecycle"
    for field, default in {"freeze": "none", "frozen_steps": 0, "body_rate": 1.0}.items():
        if getattr(settings, field) != default:
            return f"{field}: {name} trains all layers alike; set it to {default}"
    return None


def _find_fault_of_detr(settings: TrainingParameters, published: PublishedDetector) -> str | None:
    if not settings.pretrained or settings.weights_file is not None:
        return (
            f"network: {settings.network} starts from the checkpoint {published.checkpoint}; set "
            "pretrained to true, and remove weights_file"
        )
    if settings.image_size < published.smallest:
        return (
            f"image_size: {settings.network} needs {published.smallest} px or more; "
            f"{settings.image_size} is too small"
        )
    return None
