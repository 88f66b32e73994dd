"""The detectors of other libraries that a recipe may name; importing this imports no torch."""

from dataclasses import dataclass
from typing import Literal

DetrNetwork = Literal["rtdetr_v2_r18vd", "dfine_small", "rfdetr_nano"]


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
