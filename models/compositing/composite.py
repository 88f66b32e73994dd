"""Composite an object onto a background: place it, match colour and focus, cast its shadow.

Sources: colour statistics moved part of the way to the background's in Lab (Reinhard et al., "Color
Transfer between Images", IEEE CG&A 2001); focus compared by re-blurring (Zhuo & Sim, "Defocus map
estimation from a single image", Pattern Recognition 2011). `models.compositing.edge` cleans the
object's edge, `models.compositing.shadow` casts the shadow.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.compositing.backgrounds.scene import Background, Size
from models.compositing.edge import EDGE_PAD, clean_edge, edge_width
from models.compositing.placement import (
    Depth,
    Placement,
    draw_placement,
    object_box,
    rotated_size,
)
from models.compositing.settings import CompositeSettings
from models.compositing.shadow import Pose, cast_shadow, shade_by_relief
from models.data.pixels import Alpha, Bools, Floats, Pixels, resize, round_to_uint8

Corner = tuple[int, int]


def composite(
    rgba_object: Pixels,
    background: Background,
    size: Size,
    rng: np.random.Generator,
    *,
    depth: Floats | Depth | None = None,
    settings: CompositeSettings | None = None,
) -> Pixels:
    """The object in the scene, uint8 HxWx4: RGB and the object's alpha at its new position.

    Args:
        rgba_object: uint8 RGB + alpha of any size, colours not premultiplied.
        background: the empty scene; it is cropped and scaled to `size` where it differs.
        size: (width, height) of the result in px.
        rng: draws the placement and how strongly the object is adapted.
        depth: HxW of the object's image, float 0..1 or uint16, nearer is larger. It shades the
            object and decides which of its feet touch the ground.
        settings: size and position limits, colour matching, shadow.

    Raises:
        ValueError: the alpha is empty, or an array has the wrong shape.
    """
    settings = settings or CompositeSettings()
    rgba, near = _crop_to_object(rgba_object, depth)
    scene = _fit_background(background, size)
    box = (rgba.shape[1], rgba.shape[0])
    placement = draw_placement(box, background.horizon, size, rng, settings)
    colours, alpha, near = _transform(rgba, near, placement)
    corner = _corner(placement, alpha)
    surroundings = _surroundings(scene, corner, alpha)
    strength = settings.colour_matching * rng.uniform(0.6, 1.0)
    colours = _match_colours(colours, alpha, surroundings, strength)
    pose = Pose(background.horizon > 0, background.light, corner)
    if near is not None:
        colours = shade_by_relief(colours, alpha, near, background.light[0])
    colours, alpha, scene = _match_focus(colours, alpha, scene, surroundings)
    colours = _match_noise(colours, surroundings, rng)
    if settings.shadow > 0:
        scene = cast_shadow(scene, alpha, near, pose, settings.shadow * rng.uniform(0.75, 1.0))
    return _blend(scene, colours, alpha, corner)


def _crop_to_object(rgba: Pixels, depth: Floats | Depth | None) -> tuple[Pixels, Floats | None]:
    if rgba.ndim != 3 or rgba.shape[2] != 4:
        raise ValueError(f"the object of shape {rgba.shape} is no RGBA image; give HxWx4")
    if depth is not None and depth.shape != rgba.shape[:2]:
        raise ValueError(
            f"depth of shape {depth.shape} doesn't fit the object's {rgba.shape[:2]}; "
            "give both of one size"
        )
    box = object_box(rgba)
    if depth is None:
        return rgba[box], None
    levels = depth[box].astype(np.float32)
    return rgba[box], levels / np.float32(65535) if depth.dtype == np.uint16 else levels


def _fit_background(background: Background, size: Size) -> Pixels:
    width, height = size
    pixels = background.pixels
    if pixels.shape[:2] == (height, width):
        return pixels
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    large = (
        max(width, round(pixels.shape[1] * scale)),
        max(height, round(pixels.shape[0] * scale)),
    )
    resized = resize(pixels, *large, scale=scale)
    left, top = (large[0] - width) // 2, (large[1] - height) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width])


def _transform(
    rgba: Pixels, depth: Floats | None, placement: Placement
) -> tuple[Floats, Alpha, Floats | None]:
    """Colours (0..255), alpha (0..1) and depth, scaled and rotated as the placement says."""
    rgba, depth = _scale(rgba, depth, placement.scale)
    layers: list[cv2.typing.MatLike] = [rgba] if depth is None else [rgba, depth]
    if placement.rotation:
        new = rgba.shape[1::-1]
        span = rotated_size(new, placement.rotation)
        large = (int(np.ceil(span[0])) + 2, int(np.ceil(span[1])) + 2)
        matrix = cv2.getRotationMatrix2D((new[0] / 2, new[1] / 2), placement.rotation, 1.0)
        matrix[:, 2] += (large[0] - new[0]) / 2, (large[1] - new[1]) / 2
        # The corners that come into view are black with alpha 0.
        layers = [
            cv2.warpAffine(
                layer, matrix, large, flags=cv2.INTER_CUBIC if layer.ndim == 3 else cv2.INTER_LINEAR
            )
            for layer in layers
        ]
    colours = cv2.cvtColor(layers[0], cv2.COLOR_RGBA2RGB).astype(np.float32)
    alpha = cv2.extractChannel(layers[0], 3).astype(np.float32) / np.float32(255)
    return colours, alpha, np.asarray(layers[1], np.float32) if depth is not None else None


def _scale(rgba: Pixels, depth: Floats | None, scale: float) -> tuple[Pixels, Floats | None]:
    """The object and its depth with a clean edge, scaled.

    The edge is cleaned at the smaller of both sizes, which costs less. Colours then continue beyond
    the edge, so enlarging needs no premultiplied colours.
    """
    pad, width = EDGE_PAD, edge_width(rgba.shape[:2])
    if scale < 1:
        size = _scaled_size(rgba, scale)
        small = resize(rgba, *size, scale=scale)
        scaled = clean_edge(small, max(1.2, scale * width))
    else:
        clean = clean_edge(rgba, width)
        scaled = resize(clean, *_scaled_size(clean, scale), scale=scale)
    if depth is None:
        return scaled, None
    around = pad if scale >= 1 else round(pad / scale)
    padded = cv2.copyMakeBorder(depth, around, around, around, around, cv2.BORDER_REPLICATE)
    new = scaled.shape[1::-1]
    return scaled, np.asarray(cv2.resize(padded, new, interpolation=cv2.INTER_LINEAR), np.float32)


def _scaled_size(image: Pixels, scale: float) -> Size:
    return max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale))


def _corner(placement: Placement, alpha: Alpha) -> Corner:
    height, width = alpha.shape
    return round(placement.centre[0] - width / 2), round(placement.centre[1] - height / 2)


def _surroundings(scene: Pixels, corner: Corner, alpha: Alpha) -> Pixels:
    """The part of the scene behind the object, a quarter wider on each side."""
    height, width = alpha.shape
    x, y = corner
    rows = slice(max(0, y - height // 4), max(1, y + height + height // 4))
    return scene[rows, max(0, x - width // 4) : max(1, x + width + width // 4)]


def _match_colours(colours: Floats, alpha: Alpha, surroundings: Pixels, strength: float) -> Floats:
    """Colours with Lab statistics moved towards the scene's, within limits that keep the class.

    Lightness moves by 12 of 100 at most, its spread by 12 %. The chroma plane moves by 5 units at
    most. Of these, a twelfth of the object's own chroma turns its hue (about 5 degrees).
    """
    solid = alpha > 0.9
    if strength <= 0 or not solid.any():
        return colours
    lab = cv2.cvtColor(colours * np.float32(1 / 255), cv2.COLOR_RGB2LAB)
    thumbnail = cv2.resize(surroundings, (48, 48), interpolation=cv2.INTER_AREA)
    scene_lab = cv2.cvtColor(thumbnail.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    # Every third px of a large object gives its statistics.
    own = lab[::3, ::3][solid[::3, ::3]] if solid.sum() > 5000 else lab[solid]
    mean, deviation = own.mean(0, dtype=np.float64), own.std(0, dtype=np.float64) + 1e-3
    target, spread = scene_lab.mean(0, dtype=np.float64), scene_lab.std(0, dtype=np.float64)
    lift = float(np.clip(0.35 * strength * (target[0] - mean[0]), -12, 12))
    gain = float(np.clip((spread[0] / deviation[0]) ** (0.3 * strength), 0.88, 1.12))
    move = [mean[0] * (1 - gain) + lift, *_chroma_move(mean[1:], target[1:], strength)]
    matched = cv2.transform(lab, np.column_stack([np.diag([gain, 1.0, 1.0]), move]))
    return np.asarray(cv2.cvtColor(matched, cv2.COLOR_LAB2RGB) * np.float32(255), np.float32)


def _chroma_move(
    mean: npt.NDArray[np.float64], target: npt.NDArray[np.float64], strength: float
) -> npt.NDArray[np.float64]:
    """By how much (a, b) moves from its mean towards the target, without turning its hue far."""
    move = 0.3 * strength * target
    move *= min(1.0, 5.0 / (np.hypot(*move) + 1e-6))
    chroma = float(np.hypot(*mean))
    if chroma <= 5:
        return np.asarray(move)
    along = mean / chroma
    across = move - along * (move @ along)
    turn = np.hypot(*across) + 1e-6
    limited = along * np.clip(move @ along, -0.1 * chroma, 5)
    return np.asarray(limited + across * min(1, chroma / 12 / turn))


def _middle(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The middle of an image, 360 px at most: enough to measure focus and noise."""
    top, left = (max(0, (side - 360) // 2) for side in image.shape[:2])
    return image[top : top + 360, left : left + 360]


def _measure_blur(pixels: Pixels | Floats, region: Bools | None = None) -> float:
    """The blur of the sharpest edges in px: their gradient against that of a re-blurred copy."""
    grey = cv2.cvtColor(_middle(pixels).astype(np.float32), cv2.COLOR_RGB2GRAY)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.6)
    reblurred = cv2.GaussianBlur(grey, (0, 0), 1.5)
    slopes = [
        np.hypot(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))
        for image in (grey, reblurred)
    ]
    if region is not None and _middle(region).sum() > 64:
        slopes = [slope[_middle(region)] for slope in slopes]
    strong = slopes[0] >= np.percentile(slopes[0], 97)
    ratio = float(slopes[0][strong].mean() / (slopes[1][strong].mean() + 1e-6))
    return float(np.clip(1.5 / np.sqrt(max(ratio**2 - 1, 0.02)), 0.0, 6.0))


def _match_focus(
    colours: Floats, alpha: Alpha, scene: Pixels, surroundings: Pixels
) -> tuple[Floats, Alpha, Pixels]:
    """Blur the sharper one of object and scene, so that they differ less in sharpness."""
    inside = cv2.erode((alpha > 0.95).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    own, other = _measure_blur(colours, inside), _measure_blur(surroundings)
    if other > own:
        sigma = min(0.6 * float(np.sqrt(other**2 - own**2)), 1.2)
        if sigma > 0.3:
            colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), sigma), np.float32)
            alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.5 * sigma), np.float32)
    else:
        sigma = min(0.8 * float(np.sqrt(own**2 - other**2)), 0.004 * scene.shape[1])
        if sigma > 0.4:
            scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), sigma), np.uint8)
    return colours, alpha, scene


def _match_noise(colours: Floats, surroundings: Pixels, rng: np.random.Generator) -> Floats:
    """Add grain to the object where the scene has more of it (three grey levels at most)."""
    missing = _measure_noise(surroundings) ** 2 - _measure_noise(colours) ** 2
    if missing <= 0.25:
        return colours
    grain = rng.standard_normal(colours.shape[:2], dtype=np.float32)
    grain *= np.float32(min(missing**0.5, 3.0))
    return np.asarray(cv2.add(colours, cv2.merge([grain] * 3)), np.float32)


def _measure_noise(pixels: Pixels | Floats) -> float:
    """Deviation of the noise in grey levels: median response to Immerkaer's mask (CVIU 1996)."""
    grey = cv2.cvtColor(_middle(pixels).astype(np.float32), cv2.COLOR_RGB2GRAY)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.median(np.abs(cv2.filter2D(grey, -1, mask)))) / (0.6745 * 6)


def _blend(scene: Pixels, colours: Floats, alpha: Alpha, corner: Corner) -> Pixels:
    """The object over the scene, mixed in roughly linear light so that soft edges don't darken."""
    height, width = scene.shape[:2]
    x, y = corner
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + alpha.shape[1], width), min(y + alpha.shape[0], height)
    inside = slice(top - y, bottom - y), slice(left - x, right - x)
    result = np.asarray(cv2.cvtColor(scene, cv2.COLOR_RGB2RGBA), np.uint8)
    result[..., 3] = 0
    part = result[top:bottom, left:right]
    weight = alpha[inside]
    # Squares stand for linear light (gamma 2).
    below = np.square(scene[top:bottom, left:right], dtype=np.float32)
    above = np.square(np.clip(colours[inside], 0, 255))
    mixed = np.sqrt(below + (above - below) * cv2.merge([weight] * 3))
    part[..., :3] = round_to_uint8(mixed)
    part[..., 3] = round_to_uint8(weight * 255)
    return result
