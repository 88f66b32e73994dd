"""The object's matte without a learned network: region saliency, GrabCut, guided filter.

A saliency prior (`models.segmentation.saliency`) or a carried alpha seeds GrabCut (Rother,
Kolmogorov and Blake,
"GrabCut", SIGGRAPH 2004) at working resolution; the binary cut is then carried to full size by the
guided filter (He, Sun and Tang, "Guided Image Filtering", PAMI 2013), which follows the photo's own
edges. It can go wrong on objects that share their colours with the ground; `matte_quality` gives
the numbers by which screening finds such mattes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.segmentation.saliency import (
    NoObject,
    build_region_graph,
    find_object,
    local_separation,
    region_saliency,
)

__all__ = ["MatteQuality", "NoObject", "estimate_foreground", "matte_object", "matte_quality"]

Pixels = npt.NDArray[np.uint8]
Alpha = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_COMPONENTS = 5  # mixture components per side, as in the GrabCut paper; fixed inside OpenCV
_ITERATIONS = 2
# A cut that leaves less than this share of the seeds, or grows beyond its inverse, has collapsed
# onto a print or leaked into the ground: the seeds are then the better answer.
_COLLAPSE = 0.4


@dataclass(frozen=True)
class MatteQuality:
    """What a matte looks like from outside, for screening.

    `area_fraction`: share of the image, 0..1. `border_fraction`: share of the outline that lies on
    the image border, 0..1. `components`: parts with more than 5 % of the object's area.
    `edge_contrast`: how often the photo has a colour step where the matte has its outline, 0..1.
    `separation`: how well colour and place tell inside from outside, 0.5 (not at all)..1.
    `agreement`: mean saliency inside minus outside, -1..1. `compactness`: 1 for a disc, towards 0
    for frayed outlines. `score`: the terms combined into an estimate of the IoU, 0..1.
    """

    area_fraction: float
    border_fraction: float
    components: int
    edge_contrast: float
    separation: float
    agreement: float
    compactness: float
    score: float


def matte_object(pixels: Pixels, *, prior: Alpha | None = None, working_side: int = 320) -> Alpha:
    """Return the alpha (float32 HxW, 0..1) of the one object, or pair, that a photo shows.

    `pixels` is RGB uint8 HxWx3. `prior` is an alpha of the same size that was carried along from an
    earlier step: only a narrow band around its outline is decided anew. `working_side` is the long
    side in pixels at which the cut is made. The result depends on the arguments alone: the colour
    models are initialised here, so OpenCV's random state is neither used nor changed.

    Raises:
        NoObject: the picture is nearly uniform, nothing stands out, or the prior is empty.
        ValueError: `pixels` or `prior` has the wrong shape or type.
    """
    _check(pixels, prior)
    height, width = pixels.shape[:2]
    scale = min(1.0, working_side / max(height, width))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if prior is None:
        seeds, trust = _seeds_from_saliency(pixels, size)
        trimap = _wide_trimap(seeds, trust)
    else:
        seeds = np.asarray(cv2.resize(prior, size, interpolation=cv2.INTER_AREA) > 0.5)
        trust = seeds.astype(np.float32)
        trimap = _band_trimap(seeds)
    cut = _grab_cut(small, trimap, seeds)
    if prior is None:
        cut = _keep_object(cut, trust)
    if not _COLLAPSE * seeds.sum() < cut.sum() < seeds.sum() / _COLLAPSE:
        cut = seeds
    return _upsample_guided(pixels, small, cut)


def matte_quality(pixels: Pixels, alpha: Alpha) -> MatteQuality:
    """Return how plausible `alpha` (float32 HxW) is as the matte of an object in `pixels`.

    An empty or full matte has score 0.

    Raises:
        ValueError: `pixels` or `alpha` has the wrong shape or type.
    """
    _check(pixels, alpha)
    graph = build_region_graph(pixels)
    height, width = graph.labels.shape
    reduced = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)
    small = np.asarray(reduced, np.float32)
    inside = np.asarray(small > 0.5)
    area = float(small.mean())
    if not inside.any() or inside.all():
        return MatteQuality(area, float(inside.any()), int(inside.any()), 0, 0.5, 0, 0, 0)
    share = np.bincount(graph.labels.ravel(), small.ravel(), graph.count) / graph.area
    separation = float(np.mean(local_separation(graph, share)))
    saliency = region_saliency(graph)
    mass, rest = share * graph.area, (1 - share) * graph.area
    agreement = float(saliency @ mass / mass.sum() - saliency @ rest / rest.sum())
    on_border = int(sum(edge.sum() for edge in _edges(inside)))
    outline = cv2.morphologyEx(
        inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
    )
    length = outline.sum() / 2 + on_border
    sizes = _part_sizes(inside)
    terms = {
        "area_fraction": area,
        "border_fraction": float(on_border / length),
        "edge_contrast": _edge_contrast(pixels, small),
        "separation": separation,
        "agreement": agreement,
        "compactness": float(min(1.0, 4 * np.pi * inside.sum() / length**2)),
    }
    parts = int((sizes > 0.05 * inside.sum()).sum())
    return MatteQuality(components=parts, score=_estimate_iou(terms), **terms)


def estimate_foreground(pixels: Pixels, alpha: Alpha, *, radius: int = 6) -> Pixels:
    """Return RGB uint8 HxWx3 with the object's own colours carried into its soft edge and beyond.

    The ground's colour is taken out of the edge pixels, so that pasting on another ground leaves
    no fringe; one pass of blur fusion (Forte, "Approximate Fast Foreground Colour Estimation",
    ICIP 2021). Opaque pixels keep their value; `radius` is in pixels.
    """
    _check(pixels, alpha)
    window = (2 * radius + 1, 2 * radius + 1)
    image = pixels.astype(np.float32)
    core = np.clip((alpha - 0.9) / 0.1, 0, 1)[..., None]
    weight = np.asarray(cv2.blur(core, window))[..., None]
    inner = cv2.blur(image * core, window) / (weight + 1e-4)
    opacity = np.clip(alpha, 0, 1)[..., None]
    nearby = np.where(weight > 1e-3, inner, image)
    mixed = core * image + (1 - core) * nearby
    return np.asarray(np.clip(np.where(opacity >= 0.999, image, mixed) + 0.5, 0, 255), np.uint8)


def _check(pixels: Pixels, alpha: Alpha | None) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be RGB uint8 HxWx3, not {pixels.dtype} {pixels.shape}")
    if min(pixels.shape[:2]) < 2:
        raise ValueError(f"pixels must be at least 2x2, not {pixels.shape[:2]}")
    if alpha is None:
        return
    if alpha.shape != pixels.shape[:2] or not np.issubdtype(alpha.dtype, np.floating):
        raise ValueError(
            f"alpha must be float HxW of the picture's size {pixels.shape[:2]}, "
            f"not {alpha.dtype} {alpha.shape}"
        )


def _seeds_from_saliency(pixels: Pixels, size: tuple[int, int]) -> tuple[Bools, Alpha]:
    graph = build_region_graph(pixels)
    chosen, saliency = find_object(graph)
    seeds = cv2.resize(chosen[graph.labels].astype(np.float32), size)
    trust = cv2.resize(saliency[graph.labels].astype(np.float32), size)
    return np.asarray(seeds > 0.5), np.asarray(trust, np.float32)


def _distance(mask: Bools) -> Alpha:
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3), np.float32)


def _wide_trimap(seeds: Bools, saliency: Alpha) -> Pixels:
    """Superpixel seeds: sure only deep inside or far outside, where the saliency agrees."""
    reach = 0.12 * float(np.sqrt(seeds.sum()))
    trimap = np.where(seeds, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[(_distance(~seeds) > reach) & ((saliency < 0.2) | (_distance(~seeds) > 3 * reach))] = (
        cv2.GC_BGD
    )
    trimap[(_distance(seeds) > reach) & (saliency > 0.8)] = cv2.GC_FGD
    return trimap


def _band_trimap(seeds: Bools) -> Pixels:
    """A carried matte: all is sure but a band of about 4 % of the object's size at its outline."""
    if not seeds.any():
        raise NoObject("no object found: the carried matte (prior) is empty; matte the photo anew")
    inner, outer = _distance(seeds), _distance(~seeds)
    band = max(2.0, 0.04 * float(np.sqrt(seeds.sum())))
    trimap = np.where(seeds, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[outer > band] = cv2.GC_BGD
    # Parts thinner than the band keep a sure core, or the cut would drop straps and stems.
    trimap[inner > min(band, 0.5 * float(inner.max()))] = cv2.GC_FGD
    return trimap


def _grab_cut(small: Pixels, trimap: Pixels, seeds: Bools) -> Bools:
    if seeds.all() or not seeds.any():
        return seeds
    # Mode EVAL takes the mixtures given here. Mode INIT would run k-means on OpenCV's per-thread
    # random state, and the result would hang on what that thread did before.
    models = [_colour_mixture(small[side]) for side in (~seeds, seeds)]
    mask = trimap.copy()
    cv2.grabCut(small, mask, (0, 0, 0, 0), models[0], models[1], _ITERATIONS, cv2.GC_EVAL)
    return np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))


def _colour_mixture(colours: Pixels) -> npt.NDArray[np.float64]:
    """Gaussian mixture in OpenCV's layout (weights, means, covariances), by binary splitting.

    The cluster of largest variance is split at its mean along its main axis (Orchard and Bouman,
    "Color Quantization of Images", 1991), as the GrabCut paper does.
    """
    sample = colours[:: max(1, len(colours) // 6000)].astype(np.float64)
    clusters = [sample]
    while len(clusters) < _COMPONENTS:
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


def _covariance(cluster: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    offset = cluster - cluster.mean(0)
    return np.asarray(offset.T @ offset / len(cluster) + np.eye(3))


def _keep_object(cut: Bools, saliency: Alpha) -> Bools:
    """Keep the main part and parts of like weight (the second shoe); close prints."""
    opened = cv2.morphologyEx(cut.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if not opened.any():
        return cut
    count, labels, stats, centres = cv2.connectedComponentsWithStats(opened)
    height, width = cut.shape
    away = ((centres - 0.5 * np.array([width, height])) / np.array([width, height])) ** 2
    weight = np.asarray(np.bincount(labels.ravel(), saliency.ravel() + 0.1, count), np.float64)
    weight = weight * np.exp(-away.sum(1) / (2 * 0.35**2))
    on_border = np.bincount(np.concatenate(_edges(labels)), minlength=count)
    weight = weight / (1 + 3 * on_border / np.sqrt(stats[:, cv2.CC_STAT_AREA]))
    weight[0] = 0
    kept = np.asarray((weight >= 0.2 * weight.max())[labels])
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA]
    inner_saliency = np.bincount(labels.ravel(), saliency.ravel(), count) / areas
    closed = (areas < 0.01 * kept.sum()) | (inner_saliency > 0.6)
    closed[np.unique(np.concatenate(_edges(labels)))] = False
    closed[0] = False
    return np.asarray(kept | closed[labels])


def _edges(image: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
    return [image[0], image[-1], image[1:-1, 0], image[1:-1, -1]]


def _upsample_guided(pixels: Pixels, small: Pixels, cut: Bools) -> Alpha:
    """Colour guided filter with coefficients at working size, applied at full size."""
    guide = np.asarray(small / 255, np.float32)
    gain, offset = _guided_coefficients(guide, cut.astype(np.float32), radius=3, eps=4e-4)
    size = pixels.shape[1::-1]
    gain, offset = (np.asarray(cv2.resize(part, size), np.float32) for part in (gain, offset))
    alpha = np.einsum("hwc,hwc->hw", gain, np.asarray(pixels / 255, np.float32)) + offset
    # The filter leaves a veil inside and outside; a steeper ramp makes the edge tight again.
    alpha = np.clip((alpha - 0.2) / 0.6, 0, 1)
    reach = np.ones((9, 9), np.uint8)
    sure = cut.astype(np.uint8)
    inside, outside = cv2.erode(sure, reach), cv2.dilate(sure, reach)
    alpha[cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST) > 0] = 1
    alpha[cv2.resize(outside, size, interpolation=cv2.INTER_NEAREST) == 0] = 0
    return np.asarray(alpha, np.float32)


def _guided_coefficients(
    guide: npt.NDArray[np.float32], target: Alpha, radius: int, eps: float
) -> tuple[npt.NDArray[np.float32], Alpha]:
    """He et al., eqs. 19 and 20: per-window linear model, averaged over windows."""
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(cv2.blur(values, window), np.float32)

    centre, level = mean(guide), mean(target)
    outer = (guide[..., :, None] * guide[..., None, :]).reshape(*guide.shape[:2], 9)
    spread = np.stack([mean(np.ascontiguousarray(outer[..., k])) for k in range(9)], -1)
    spread = spread.reshape(*guide.shape, 3) - centre[..., :, None] * centre[..., None, :]
    cross = mean(guide * target[..., None]) - centre * level[..., None]
    gain = np.linalg.solve(spread + eps * np.eye(3, dtype=np.float32), cross[..., None])[..., 0]
    offset = level - (gain * centre).sum(-1)
    return mean(np.asarray(gain, np.float32)), mean(np.asarray(offset, np.float32))


def _part_sizes(mask: Bools) -> npt.NDArray[np.int32]:
    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2]
    return np.asarray(stats[1:, cv2.CC_STAT_AREA], np.int32)


def _edge_contrast(pixels: Pixels, small: Alpha) -> float:
    """Mean of 1 - exp(-dE / 12) along the outline, dE between just inside and just outside."""
    height, width = small.shape
    image = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    inside = (small > 0.5).astype(np.float32)

    def local(member: Alpha) -> npt.NDArray[np.float32]:
        weight = np.asarray(cv2.blur(member, (7, 7)))[..., None]
        return np.asarray(cv2.blur(lab * member[..., None], (7, 7)) / (weight + 1e-3), np.float32)

    step = np.linalg.norm(local(inside) - local(1 - inside), axis=-1)
    outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return float((1 - np.exp(-step[outline] / 12)).mean())


def _estimate_iou(terms: dict[str, float]) -> float:
    """Least-squares estimate of the IoU, fitted to 798 good and bad mattes of 168 photos.

    Held out by photo it ranks mattes of hand-held fruit and balloons much as their IoU does
    (Spearman 0.75 and 0.83), and parts those with an IoU above 0.6 from the rest at an AUC of 0.90.
    On 72 fresh rendered scenes the rank correlation is only 0.34 to 0.39: it finds gross misses,
    and says little about an object that lost one of its colours to the ground.
    """
    odd_size = abs(float(np.log(max(terms["area_fraction"], 1e-4) / 0.25)))
    estimate = (
        -0.95
        - 0.69 * terms["border_fraction"]
        + 1.52 * terms["separation"]
        + 0.22 * terms["agreement"]
        + 0.53 * terms["compactness"]
        - 0.05 * odd_size
    )
    return float(np.clip(estimate, 0, 1))
