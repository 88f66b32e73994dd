"""Measure how plausible a mask is, without the truth, for screening."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.data.pixels import Alpha, Floats, Pixels
from models.segmentation.masks import border_pixels, check_image
from models.segmentation.saliency import build_region_graph, local_separation, region_saliency


@dataclass(frozen=True)
class MaskQuality:
    """Measures of a mask.

    Attributes:
        area_fraction: share of the image, 0..1.
        border_fraction: share of the outline on the image border, 0..1.
        components: parts with more than 5 % of the object's area.
        edge_contrast: how strongly the photo's colour changes along the outline, 0..1.
        separation: how well colour and position separate inside from outside, 0.5 (not)..1.
        agreement: mean saliency inside minus outside, -1..1.
        compactness: 1 for a disc, towards 0 for frayed outlines.
        score: estimate of the IoU from the other measures, 0..1.
    """

    area_fraction: float
    border_fraction: float
    components: int
    edge_contrast: float
    separation: float
    agreement: float
    compactness: float
    score: float


def measure_mask(pixels: Pixels, alpha: Alpha) -> MaskQuality:
    """Return measures of `alpha` (float HxW) as the mask of an object in `pixels` (uint8 HxWx3).

    An empty or full mask has score 0.

    Raises:
        ValueError: an input has the wrong shape or dtype.
    """
    check_image(pixels, alpha)
    graph = build_region_graph(pixels)
    height, width = graph.labels.shape
    reduced = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)
    small = np.asarray(reduced, np.float32)
    inside = np.asarray(small > 0.5)
    area = float(small.mean())
    if not inside.any() or inside.all():
        return MaskQuality(area, float(inside.any()), int(inside.any()), 0, 0.5, 0, 0, 0)
    share = np.bincount(graph.labels.ravel(), small.ravel(), graph.count) / graph.area
    separation = float(np.mean(local_separation(graph, share)))
    saliency = region_saliency(graph)
    mass, rest = share * graph.area, (1 - share) * graph.area
    agreement = float(saliency @ mass / mass.sum() - saliency @ rest / rest.sum())
    on_border = int(border_pixels(inside).sum())
    outline = cv2.morphologyEx(
        inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
    )
    length = outline.sum() / 2 + on_border
    stats = cv2.connectedComponentsWithStats(inside.astype(np.uint8))[2]
    measures = {
        "area_fraction": area,
        "border_fraction": float(on_border / length),
        "edge_contrast": _edge_contrast(pixels, small),
        "separation": separation,
        "agreement": agreement,
        "compactness": float(min(1.0, 4 * np.pi * inside.sum() / length**2)),
    }
    parts = int((stats[1:, cv2.CC_STAT_AREA] > 0.05 * inside.sum()).sum())
    return MaskQuality(components=parts, score=_estimate_iou(measures), **measures)


def _edge_contrast(pixels: Pixels, small: Alpha) -> float:
    """Return the mean of 1 - exp(-dE / 12) along the outline, dE from just inside to outside."""
    height, width = small.shape
    image = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    inside = (small > 0.5).astype(np.float32)

    def local_mean(member: Floats) -> Floats:
        weight = np.asarray(cv2.blur(member, (7, 7)))[..., None]
        return np.asarray(cv2.blur(lab * member[..., None], (7, 7)) / (weight + 1e-3), np.float32)

    step = np.linalg.norm(local_mean(inside) - local_mean(1 - inside), axis=-1)
    outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return float((1 - np.exp(-step[outline] / 12)).mean())


def _estimate_iou(measures: dict[str, float]) -> float:
    """Return a least-squares estimate of the IoU, fitted to 798 good and bad masks of 168 photos.

    Held out by photo, it ranks masks of hand-held fruit and balloons much as their IoU does
    (Spearman 0.75 and 0.83), and separates an IoU above 0.6 from the rest with an AUC of 0.90. On
    72 fresh rendered scenes the rank correlation is only 0.34 to 0.39. So it finds gross failures,
    but not an object that lost one of its colours to the background.
    """
    odd_size = abs(float(np.log(max(measures["area_fraction"], 1e-4) / 0.25)))
    estimate = (
        -0.95
        - 0.69 * measures["border_fraction"]
        + 1.52 * measures["separation"]
        + 0.22 * measures["agreement"]
        + 0.53 * measures["compactness"]
        - 0.05 * odd_size
    )
    return float(np.clip(estimate, 0, 1))
