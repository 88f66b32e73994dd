"""Segment an object without a learned network: region saliency, GrabCut, guided filter.

Region saliency (`models.segmentation.saliency`) or a previous mask seeds GrabCut (Rother,
Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004) at a working resolution. The guided filter (He, Sun
and Tang, "Guided Image Filtering", PAMI 2013) brings the binary cut to full size, along the photo's
own edges. GrabCut can fail on objects that share their colours with the background;
`models.segmentation.mask_quality` measures such masks for screening.
"""

import cv2
import numpy as np

from models.data.pixels import Alpha, Bools, Floats, Matrix, Pixels
from models.segmentation.masks import (
    INSIDE,
    OUTSIDE,
    border_pixels,
    check_image,
    distance_inside,
    trimap_around,
)
from models.segmentation.saliency import NoObjectError, build_region_graph, find_object

_N_COMPONENTS = 5  # mixture components per side, as in the GrabCut paper; fixed inside OpenCV
_ITERATIONS = 2
# A cut with less than this share of the seeds has shrunk to a print on the object. A cut larger
# than its inverse has leaked into the background. The seeds are then the better answer.
_COLLAPSED = 0.4
# Width of the undecided band around a previous mask, as a share of the object's size.
_BAND = 0.04


def segment_object(
    pixels: Pixels, *, previous_mask: Alpha | None = None, working_side: int = 320
) -> Alpha:
    """Return the alpha (float32 HxW, 0..1) of the one object, or pair, in a photo.

    The result depends on the arguments alone: the colour models are initialised here, and OpenCV's
    random state is neither read nor changed.

    Args:
        pixels: RGB uint8 HxWx3.
        previous_mask: alpha of the same size from an earlier step. Only a narrow band around its
            outline is decided again.
        working_side: long side in pixels at which GrabCut runs.

    Raises:
        NoObjectError: the photo is nearly uniform, nothing stands out, or the previous mask is
            empty.
        ValueError: an input has the wrong shape or dtype.
    """
    check_image(pixels, previous_mask)
    height, width = pixels.shape[:2]
    scale = min(1.0, working_side / max(height, width))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if previous_mask is None:
        seeds, saliency = _find_seeds(pixels, size)
        cut = _grab_cut(small, _wide_trimap(seeds, saliency), seeds)
        cut = _keep_object(cut, saliency)
    else:
        reduced = cv2.resize(previous_mask, size, interpolation=cv2.INTER_AREA)
        seeds = np.asarray(reduced > 0.5)
        cut = _grab_cut(small, _band_trimap(seeds), seeds)
    if not _COLLAPSED * seeds.sum() < cut.sum() < seeds.sum() / _COLLAPSED:
        cut = seeds
    return _upsample_guided(pixels, small, cut)


def _find_seeds(pixels: Pixels, size: tuple[int, int]) -> tuple[Bools, Floats]:
    """Return the salient object's mask and the saliency, both at working size."""
    graph = build_region_graph(pixels)
    chosen, region_saliency = find_object(graph)
    seeds = cv2.resize(chosen[graph.labels].astype(np.float32), size)
    saliency = cv2.resize(region_saliency[graph.labels].astype(np.float32), size)
    return np.asarray(seeds > 0.5), np.asarray(saliency, np.float32)


def _wide_trimap(seeds: Bools, saliency: Floats) -> Pixels:
    """Return GrabCut's trimap: sure only deep inside or far outside, where saliency agrees."""
    margin = 0.12 * float(np.sqrt(seeds.sum()))
    inner, outer = distance_inside(seeds), distance_inside(~seeds)
    trimap = np.where(seeds, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[(outer > margin) & ((saliency < 0.2) | (outer > 3 * margin))] = cv2.GC_BGD
    trimap[(inner > margin) & (saliency > 0.8)] = cv2.GC_FGD
    return trimap


def _band_trimap(seeds: Bools) -> Pixels:
    """Return GrabCut's trimap: all is sure except a band around the outline."""
    if not seeds.any():
        raise NoObjectError(
            "no object found: the previous mask is empty; segment the photo without it"
        )
    sure = trimap_around(seeds, _BAND)
    trimap = np.where(seeds, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[sure == OUTSIDE] = cv2.GC_BGD
    trimap[sure == INSIDE] = cv2.GC_FGD
    return trimap


def _grab_cut(small: Pixels, trimap: Pixels, seeds: Bools) -> Bools:
    if seeds.all() or not seeds.any():
        return seeds
    # Mode EVAL takes the mixtures computed here. Mode INIT would run k-means on OpenCV's per-thread
    # random state, and the result would depend on what that thread did before.
    models = [_colour_mixture(small[side]) for side in (~seeds, seeds)]
    mask = trimap.copy()
    cv2.grabCut(small, mask, (0, 0, 0, 0), models[0], models[1], _ITERATIONS, cv2.GC_EVAL)
    return np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))


def _colour_mixture(colours: Pixels) -> Matrix:
    """Return a Gaussian mixture in OpenCV's layout: weights, means, covariances.

    Binary splitting, as in the GrabCut paper: the cluster of largest variance is split at its mean
    along its main axis (Orchard and Bouman, "Color Quantization of Images", 1991).
    """
    sample = colours[:: max(1, len(colours) // 6000)].astype(np.float64)
    clusters = [sample]
    while len(clusters) < _N_COMPONENTS:
        spreads = [np.linalg.eigh(_covariance(cluster)) for cluster in clusters]
        sums = [float(s[0][-1]) * len(c) for s, c in zip(spreads, clusters, strict=True)]
        widest = int(np.argmax(np.round(sums, 3)))
        cluster, axis = clusters.pop(widest), spreads[widest][1][:, -1]
        ahead = (cluster - cluster.mean(0)) @ axis > 0
        if ahead.all() or not ahead.any():
            ahead = np.arange(len(cluster)) % 2 == 0
        halves = [cluster[ahead], cluster[~ahead]]
        clusters += [half if len(half) else cluster for half in halves]
    weights = np.array([len(cluster) for cluster in clusters], np.float64)
    means = np.concatenate([cluster.mean(0) for cluster in clusters])
    covariances = np.concatenate([_covariance(cluster).ravel() for cluster in clusters])
    return np.concatenate([weights / weights.sum(), means, covariances])[None].copy()


def _covariance(cluster: Matrix) -> Matrix:
    offset = cluster - cluster.mean(0)
    return np.asarray(offset.T @ offset / len(cluster) + np.eye(3))


def _keep_object(cut: Bools, saliency: Floats) -> Bools:
    """Keep the main part and parts of similar weight (the second shoe); close prints."""
    opened = cv2.morphologyEx(cut.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if not opened.any():
        return cut
    count, labels, stats, centres = cv2.connectedComponentsWithStats(opened)
    height, width = cut.shape
    offset = ((centres - 0.5 * np.array([width, height])) / np.array([width, height])) ** 2
    weight = np.asarray(np.bincount(labels.ravel(), saliency.ravel() + 0.1, count), np.float64)
    weight = weight * np.exp(-offset.sum(1) / (2 * 0.35**2))
    on_border = np.bincount(border_pixels(labels), minlength=count)
    weight = weight / (1 + 3 * on_border / np.sqrt(stats[:, cv2.CC_STAT_AREA]))
    weight[0] = 0
    kept = np.asarray((weight >= 0.2 * weight.max())[labels])
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA]
    mean_saliency = np.bincount(labels.ravel(), saliency.ravel(), count) / areas
    is_closed = (areas < 0.01 * kept.sum()) | (mean_saliency > 0.6)
    is_closed[np.unique(border_pixels(labels))] = False
    is_closed[0] = False
    return np.asarray(kept | is_closed[labels])


def _upsample_guided(pixels: Pixels, small: Pixels, cut: Bools) -> Alpha:
    """Apply the colour guided filter at full size, with coefficients from the working size."""
    guide = np.asarray(small / 255, np.float32)
    kernel = np.ones((9, 9), np.uint8)
    mask = cut.astype(np.uint8)
    inside, near = cv2.erode(mask, kernel), cv2.dilate(mask, kernel)
    undecided = cv2.dilate(near - inside, kernel) > 0
    gain, offset = _guided_coefficients(guide, mask.astype(np.float32), undecided, 3, 4e-4)
    size = pixels.shape[1::-1]
    products = cv2.multiply(cv2.resize(gain / 255, size), pixels, dtype=cv2.CV_32F)
    alpha = cv2.add(cv2.transform(products, np.ones((1, 3))), cv2.resize(offset, size))
    # The filter leaves haze inside and outside; a steeper ramp makes the edge tight again.
    alpha = np.clip((alpha - 0.2) / 0.6, 0, 1)
    alpha[cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST) > 0] = 1
    alpha[cv2.resize(near, size, interpolation=cv2.INTER_NEAREST) == 0] = 0
    return np.asarray(alpha, np.float32)


def _guided_coefficients(
    guide: Floats, target: Floats, where: Bools, radius: int, eps: float
) -> tuple[Floats, Floats]:
    """Return the linear model of each window, 0 outside `where`, averaged (eqs. 19 and 20)."""
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(values: Floats) -> Floats:
        return np.asarray(cv2.blur(values, window), np.float32)

    centre, level = mean(guide)[where], mean(target)[where]
    products = [mean(guide * guide[..., k : k + 1])[where] for k in range(3)]
    spread = np.stack(products, 1) - centre[:, :, None] * centre[:, None, :]
    cross = mean(guide * target[..., None])[where] - centre * level[:, None]
    solved = np.linalg.solve(spread + eps * np.eye(3, dtype=np.float32), cross[..., None])[..., 0]
    gain, offset = np.zeros_like(guide), np.zeros_like(target)
    gain[where], offset[where] = solved, level - (solved * centre).sum(-1)
    return mean(gain), mean(offset)
