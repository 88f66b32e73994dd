"""Tiling noise maps for surfaces: octaves, grain, laid units and cells.

Octave noise is a sum of lattices (Perlin, "An Image Synthesizer", SIGGRAPH 1985). Cells are a
Voronoi division (Worley, "A Cellular Texture Basis Function", SIGGRAPH 1996). Maps are float32 of
shape (SIDE, SIDE); lengths are in texels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Floats

SIDE = 768


def octave_noise(
    rng: np.random.Generator, cells: int = 3, octaves: int = 6, gain: float = 0.5, stretch: int = 1
) -> Floats:
    """Smooth noise of zero mean and unit deviation.

    Args:
        rng: source of the lattice values.
        cells: lattice cells per side of the coarsest octave.
        octaves: octaves at most, each with twice the cells of the one before.
        gain: amplitude of an octave relative to the one before.
        stretch: how many times longer features are along x than along y.
    """
    noise = np.zeros((cells, max(2, cells // stretch)), np.float32)
    amplitude = 1.0
    for octave in range(octaves):
        if octave:
            noise = _resize(noise, noise.shape[1] * 2, noise.shape[0] * 2)
        values = np.frombuffer(rng.bytes(noise.size), np.uint8).reshape(noise.shape)
        noise += (values.astype(np.float32) / 127.5 - 1.0) * amplitude
        amplitude *= gain
        if noise.shape[0] * 2 > SIDE:
            break
    return _normalise(_resize(noise, SIDE, SIDE))


def grain(rng: np.random.Generator, blur: float = 0.0) -> Floats:
    """White noise of zero mean and unit deviation, blurred by `blur` texels before scaling."""
    values = np.frombuffer(rng.bytes(SIDE * SIDE), np.uint8).reshape(SIDE, SIDE)
    noise = values.astype(np.float32)
    if blur > 0:
        pad = int(4 * blur) + 1
        around = cv2.copyMakeBorder(noise, pad, pad, pad, pad, cv2.BORDER_WRAP)
        noise = np.asarray(cv2.GaussianBlur(around, (0, 0), blur), np.float32)[pad:-pad, pad:-pad]
    return _normalise(noise)


def warp(image: Floats, dx: Floats, dy: Floats) -> Floats:
    """The map displaced by (dx, dy) texels; it wraps around."""
    ys, xs = np.indices((SIDE, SIDE), dtype=np.float32)
    warped = cv2.remap(image, xs + dx, ys + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(warped, np.float32)


def smoothstep(low: float, high: float, values: Floats) -> Floats:
    """0 below `low`, 1 above `high`, a smooth cubic between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


@dataclass(frozen=True)
class Bond:
    """The pattern of rectangular units: rows, columns, offset of odd rows, joint width (texels)."""

    rows: int
    columns: int
    offset: float
    joint: float


def laid_units(rng: np.random.Generator, bond: Bond, wobble: float = 0.18) -> tuple[Floats, Floats]:
    """(inside, tone) maps: 1 inside a unit falling to 0 in the joint, and a random tone per unit.

    `wobble` is how far edges deviate, as a share of the joint.
    """
    deviation = octave_noise(rng, 12, 4, 0.6) * bond.joint * wobble
    unit_h, unit_w = SIDE / bond.rows, SIDE / bond.columns
    texels = np.arange(SIDE, dtype=np.float32)
    row = np.floor(texels * bond.rows / SIDE)
    y = (texels * bond.rows / SIDE - row) * unit_h
    # Positions along an even and along an odd row, then one of them for each line of texels.
    shifts = np.array([[0], [1]], np.float32) * bond.offset
    x = (texels * bond.columns / SIDE + shifts) % bond.columns
    column = np.floor(x)
    x = (x - column) * unit_w
    kind, column = (row % 2).astype(np.intp), column.astype(np.intp)
    to_side = np.minimum(x, unit_w - x)[kind]
    margin = np.minimum(np.minimum(y, unit_h - y)[:, None], to_side) + deviation
    tones = np.clip(rng.normal(0, 1, (bond.rows, bond.columns)), -1.6, 1.6).astype(np.float32)
    tone = tones[row.astype(np.intp)[:, None], column[kind]]
    return smoothstep(0.35 * bond.joint, 0.75 * bond.joint, margin), tone


def cells(rng: np.random.Generator, spacing: float) -> tuple[Floats, npt.NDArray[np.intp], int]:
    """Maps of the distance to the rim of the cell and of its label, and the number of labels.

    `spacing` is the mean distance between cell centres.
    """
    pad = int(spacing * 3)
    count = round(SIDE / spacing)
    grid = np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1)
    points = ((grid + rng.uniform(0.05, 0.95, grid.shape)) * (SIDE / count)).reshape(-1, 2)
    side = SIDE + 2 * pad
    labels = np.full((side, side), -1, np.int32)
    for shift in np.ndindex(3, 3):
        texels = (points + (np.array(shift) - 1) * SIDE + pad).astype(int)
        keep = ((texels >= 0) & (texels < side)).all(1)
        labels[texels[keep, 1], texels[keep, 0]] = np.flatnonzero(keep)
    seeds = labels >= 0
    _, nearest = cv2.distanceTransformWithLabels(
        np.where(seeds, 0, 255).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of = np.zeros(int(nearest.max()) + 1, np.intp)
    label_of[nearest[seeds]] = labels[seeds]
    label = label_of[nearest]
    same = np.full(label.shape, 255, np.uint8)
    same[:, 1:][label[:, 1:] != label[:, :-1]] = 0
    same[1:][label[1:] != label[:-1]] = 0
    rim = np.asarray(cv2.distanceTransform(same, cv2.DIST_L2, 3), np.float32)
    inner = slice(pad, pad + SIDE)
    return rim[inner, inner], label[inner, inner], count * count


def _resize(image: Floats, width: int, height: int) -> Floats:
    """Enlarge as if the image repeated, so that it still tiles."""
    pad = 2
    around = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_WRAP)
    step_x, step_y = image.shape[1] / width, image.shape[0] / height
    # Pixel centres: source = (target + 0.5) * step - 0.5, shifted by the padding.
    matrix = np.array(
        [[step_x, 0, 0.5 * step_x - 0.5 + pad], [0, step_y, 0.5 * step_y - 0.5 + pad]], np.float32
    )
    # warpAffine rounds positions to 1/32 px, which shows as steps in large linear enlargements.
    flags = cv2.INTER_CUBIC if step_x * step_y >= 1 / 16 else cv2.INTER_LINEAR
    return np.asarray(
        cv2.warpAffine(around, matrix, (width, height), flags=flags | cv2.WARP_INVERSE_MAP),
        np.float32,
    )


def _normalise(noise: Floats) -> Floats:
    mean, deviation = cv2.meanStdDev(noise)
    return (noise - np.float32(mean[0, 0])) / np.float32(deviation[0, 0] + 1e-6)
