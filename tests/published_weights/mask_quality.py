"""How well GrabCut and IS-Net find the objects of shared photos whose masks are known."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, median

from models.data.pixels import Alpha, Pixels
from models.runtime.batching import InvalidOutput
from models.runtime.network_pool import infer
from models.segmentation.grabcut import segment_object
from models.segmentation.isnet import Isnet, IsnetRequest
from models.segmentation.masks import mask_iou
from models.segmentation.saliency import NoObjectError
from tests.published_weights.isnet_onnx import CHECKPOINT
from tests.published_weights.pictures import MaskedPhoto


@dataclass(frozen=True)
class MaskScore:
    """IoU of a method's masks with the true masks.

    Attributes:
        n_photos: number of photos.
        mean, median: over the photos; a photo without a found object counts as 0.
        n_below_half: photos with an IoU below 0.5.
    """

    n_photos: int
    mean: float
    median: float
    n_below_half: int


def score_masks(photos: Iterable[MaskedPhoto]) -> dict[str, MaskScore]:
    """The scores of both methods by name; empty if there are no photos."""
    found: dict[str, list[float]] = {"GrabCut": [], "IS-Net": []}
    for item in photos:
        for name, segment in (("GrabCut", _grabcut), ("IS-Net", _isnet)):
            alpha = segment(item.photo)
            found[name].append(0.0 if alpha is None else mask_iou(alpha, item.mask))
    return {name: _summarise(ious) for name, ious in found.items() if ious}


def _summarise(ious: list[float]) -> MaskScore:
    n_below_half = sum(iou < 0.5 for iou in ious)
    return MaskScore(len(ious), mean(ious), median(ious), n_below_half)


def _grabcut(photo: Pixels) -> Alpha | None:
    try:
        return segment_object(photo)
    except NoObjectError:
        return None


def _isnet(photo: Pixels) -> Alpha | None:
    (alpha,) = infer(Isnet, [CHECKPOINT], [IsnetRequest(photo)])
    return None if isinstance(alpha, InvalidOutput) else alpha
