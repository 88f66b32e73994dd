"""The detectors of other libraries that a recipe may name; importing this imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

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


def find_fault(network: str, pretrained: bool, weights_file: Path | None, side: int) -> str | None:
    """Why a detector of another library can't start with these settings, or None."""
    if network in YOLO_NETWORKS and pretrained and weights_file is None:
        return (
            f"network: {network} comes without weights; give weights_file, a .pt file of "
            "ultralytics, or set pretrained to false"
        )
    if network not in DETR_NETWORKS:
        return None
    published = DETR_NETWORKS[network]
    if not pretrained or weights_file is not None:
        return (
            f"network: {network} starts from the checkpoint {published.checkpoint}; set pretrained "
            "to true, and remove weights_file"
        )
    if side < published.smallest:
        return f"image_size: {network} needs {published.smallest} px or more; {side} is too small"
    return None
