"""Rendered photos: still lifes with known mask, depth and other views.

They are the demo's photos and the ground truth of tests. A small ray marcher renders one object of
a class on varied surfaces under varied light. `train` scenes come from a narrow set of
surroundings, as a few photos from one location do; `test` scenes come from a wide one.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from models.data.pixels import Bools, Floats, Pixels
from tests.demo_scenes.layout import CameraSetup, Domain, layout
from tests.demo_scenes.light import Scene
from tests.demo_scenes.shading import shade
from tests.demo_scenes.shapes import Points, rotate
from tests.demo_scenes.vessels import BUILDERS

CLASSES: tuple[str, ...] = tuple(sorted(BUILDERS))

_METRES_PER_UNIT = 0.1
_LOWEST, _HIGHEST = 3.0, 84.0
_EDGE_CONTRAST = 0.05
_EDGE_SHARE = 0.14
_SUBPIXELS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))


@dataclass(frozen=True)
class Rendering:
    """A rendered photo (H, W, 3) uint8 with its ground truth.

    `mask` (H, W) bool is the visible part of the object. `distance` (H, W) float32 is the distance
    from the camera along its optical axis in metres. `depth` (H, W) float32 is its inverse, scaled
    to 0..1 over the picture; nearer is larger.
    """

    pixels: Pixels
    mask: Bools
    depth: Floats
    distance: Floats


@dataclass(frozen=True)
class _Camera:
    """A camera at `origin` (3, 1); the columns of `axes` are its right, up and forward."""

    origin: Points
    axes: Points
    tangents: tuple[float, float]
    shift: tuple[float, float]
    size: tuple[int, int]

    @property
    def spread(self) -> float:
        """The angle of a pixel in radians."""
        return 2 * self.tangents[0] / self.size[0]

    def rays(self, columns: Floats, rows: Floats) -> Points:
        """Unit directions (3, N) of the rays through picture positions in px."""
        x = (2 * columns / self.size[0] - 1 - self.shift[0]) * self.tangents[0]
        y = (1 - 2 * rows / self.size[1] - self.shift[1]) * self.tangents[1]
        local = np.stack([x, y, np.ones_like(x)]).astype(np.float32)
        world = rotate(self.axes, local)
        return np.asarray(world / np.sqrt((world * world).sum(0)), np.float32)


def render(
    label: str,
    seed: int,
    *,
    size: tuple[int, int] = (320, 240),
    domain: Domain = "train",
    azimuth: float = 0.0,
    elevation: float = 0.0,
) -> Rendering:
    """Render a scene with an object of class `label`; the same seed gives the same scene.

    `size` is (width, height). `azimuth` and `elevation` (degrees) orbit the camera around the
    object from the scene's own view, to the right and up. Light, exposure and distance stay the
    same. The camera stays 3 to 84 degrees above the table.

    Raises:
        ValueError: unknown label or domain, a negative seed, or a size below 16 x 16.
    """
    _check(label, domain, size)
    if seed < 0:
        raise ValueError(f"seed {seed} is negative: give 0 or more")
    scene_layout = layout(label, seed, domain)
    scene, setup = scene_layout.scene, scene_layout.camera
    camera = _aim(scene, setup, size, (azimuth, elevation))
    width, height = size
    columns, rows = (a.ravel().astype(np.float32) + 0.5 for a in np.meshgrid(*map(np.arange, size)))
    directions = camera.rays(columns, rows)
    shaded = shade(scene, camera.origin, directions, camera.spread)
    exposure = _exposure(scene, setup)
    display = _develop(shaded.color, exposure)
    _smooth_edges(scene, camera, display.reshape(3, height, width), exposure)
    view = [seed, round(azimuth * 1000) % 360000, round(elevation * 1000) % 360000]
    along = (shaded.distance * rotate(camera.axes.T[2:], directions)[0]).reshape(height, width)
    inverse = 1 / along
    spread = max(float(np.ptp(inverse)), 1e-9)
    return Rendering(
        _finish(display.reshape(3, height, width), setup, np.random.default_rng(view)),
        (shaded.solid == 0).reshape(height, width),
        ((inverse - inverse.min()) / spread).astype(np.float32),
        (along * _METRES_PER_UNIT).astype(np.float32),
    )


def _check(label: str, domain: str, size: tuple[int, int]) -> None:
    if label not in CLASSES:
        raise ValueError(
            f"label {label!r} is not a scene class: choose one of {', '.join(CLASSES)}"
        )
    if domain not in ("train", "test"):
        raise ValueError(f"domain {domain!r} is not known: choose 'train' or 'test'")
    if min(size) < 16:
        raise ValueError(f"size {size[0]} x {size[1]} is too small: give at least 16 x 16 pixels")


def _aim(
    scene: Scene, setup: CameraSetup, size: tuple[int, int], orbit: tuple[float, float]
) -> _Camera:
    """The camera of a view, at the distance where the object fills the scene's own view."""
    longer = max(size)
    tangents = (setup.view * size[0] / longer, setup.view * size[1] / longer)
    shell = scene.solids[0].shell
    target = (shell.min(1) + shell.max(1)) / 2
    own = _axes(setup.azimuth, setup.elevation)
    distance = _framing_distance(shell - target[:, None], own, tangents, setup.fill)
    for turn in range(0, 360, 45):
        other = _axes(setup.azimuth + turn, setup.elevation)
        distance = max(distance, _framing_distance(shell - target[:, None], other, tangents, 1.0))
    raised = float(np.clip(setup.elevation + orbit[1], _LOWEST, _HIGHEST))
    axes = _axes(setup.azimuth + orbit[0], raised)
    origin = target[:, None] - axes[:, 2:] * np.float32(distance)
    return _Camera(origin.astype(np.float32), axes, tangents, setup.shift, size)


def _axes(azimuth: float, elevation: float) -> Points:
    """Columns right, up and forward of a camera at the given angles (degrees) around the origin."""
    a, e = np.radians(azimuth), np.radians(elevation)
    forward = -np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.array([np.cos(a), 0, -np.sin(a)])
    return np.stack([right, np.cross(right, forward), forward], axis=1).astype(np.float32)


def _framing_distance(
    points: Points, axes: Points, tangents: tuple[float, float], fill: float
) -> float:
    """The shortest distance at which all points lie within `fill` of the frame."""
    across, upward, depth = rotate(axes.T, points)
    needed = [
        np.abs(offset) / (fill * tangent) - depth
        for offset, tangent in zip((across, upward), tangents, strict=True)
    ]
    return float(np.max(needed))


def _exposure(scene: Scene, setup: CameraSetup) -> Floats:
    """Gains (3,) of an incident light meter, which do not depend on the view or the object."""
    light = scene.light
    arriving = light.key * max(float(light.toward[1]), 0.35) + light.sky
    meter = float(arriving @ np.array([0.2126, 0.7152, 0.0722], np.float32))
    # White balance removes most of the light's colour, not all.
    neutral = (meter / arriving) ** 0.7
    return np.asarray(neutral * setup.balance * (1.03 * setup.exposure / meter), np.float32)


def _develop(color: Floats, exposure: Floats) -> Floats:
    """Linear colours (3, N) as display values 0..1, with compressed highlights."""
    exposed = np.maximum(color * exposure[:, None], 0)
    knee = np.float32(0.55)
    over = 1 - np.exp(-np.maximum(exposed - knee, 0) / (1 - knee))
    rolled = np.where(exposed > knee, knee + (1 - knee) * over, exposed)
    coded = np.where(rolled <= 0.0031308, rolled * 12.92, 1.055 * rolled ** (1 / 2.4) - 0.055)
    return np.asarray(coded, np.float32)


def _smooth_edges(scene: Scene, camera: _Camera, display: Floats, exposure: Floats) -> None:
    """Replace pixels of high local contrast by the mean of four rays, in place."""
    luma = np.tensordot(np.array([0.3, 0.59, 0.11], np.float32), display, 1)
    kernel = np.ones((3, 3), np.uint8)
    contrast = cv2.dilate(luma, kernel) - cv2.erode(luma, kernel)
    threshold = max(_EDGE_CONTRAST, float(np.quantile(contrast, 1 - _EDGE_SHARE)))
    rows, columns = np.nonzero(contrast > threshold)
    if rows.size == 0:
        return
    offsets = np.array(_SUBPIXELS, np.float32) + np.float32(0.5)
    # The rays of a pixel are adjacent, so that blocks of rays are neighbours in the picture.
    x = (columns[:, None] + offsets[:, 0]).astype(np.float32).ravel()
    y = (rows[:, None] + offsets[:, 1]).astype(np.float32).ravel()
    color = shade(scene, camera.origin, camera.rays(x, y), camera.spread * 0.6).color
    display[:, rows, columns] = _develop(color, exposure).reshape(3, -1, len(offsets)).mean(2)


def _finish(display: Floats, setup: CameraSetup, rng: np.random.Generator) -> Pixels:
    """The picture of a phone camera: glow around highlights, vignette, sensor noise."""
    picture = np.ascontiguousarray(display.transpose(1, 2, 0))
    height, width = picture.shape[:2]
    bright = np.maximum(picture - 0.85, 0)
    picture += 0.6 * cv2.GaussianBlur(bright, (0, 0), max(height, width) / 60)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    picture *= (1 - setup.vignette * ((x * x + y * y) / 2) ** 1.5)[..., None]
    fine = rng.standard_normal((height, width, 3), np.float32)
    gray = rng.standard_normal((height, width, 1), np.float32)
    noise = cv2.GaussianBlur(0.5 * fine + gray, (0, 0), 0.6) * np.float32(2.0)
    picture += noise * (setup.noise * np.sqrt(np.clip(picture, 0.05, 1)))
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), np.uint8)


def write_photos(
    folder: Path,
    *,
    train: int,
    test: int,
    classes: Sequence[str] = CLASSES,
    size: tuple[int, int] = (320, 240),
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `train` and `test` rendered photos per class as an ImageFolder of JPEGs.

    Files are `folder/<domain>/<class>/<class>_000.jpg`. Each is written under a temporary name and
    renamed. Existing files are kept, so a stopped run continues with the missing ones. The bytes do
    not depend on `processes` (default: one per core). `progress` is called with (done, total).

    Raises:
        ValueError: a negative count, an unknown class, or a size below 16 x 16.
    """
    if min(train, test) < 0:
        raise ValueError(f"train={train}, test={test}: give 0 or more photos per class")
    for label in classes:
        _check(label, "train", size)
    jobs = [
        (path, label, domain, (seed, index), size)
        for domain, count in _counts(train, test)
        for label in classes
        for index in range(count)
        if not (path := folder / domain / label / f"{label}_{index:03d}.jpg").exists()
    ]
    total = (train + test) * len(classes)
    done = total - len(jobs)
    if progress:
        progress(done, total)
    if not jobs:
        return
    for _ in _run_all(jobs, min(processes or _cores(), len(jobs))):
        done += 1
        if progress:
            progress(done, total)


_Job = tuple[Path, str, Domain, tuple[int, int], tuple[int, int]]


def _counts(train: int, test: int) -> tuple[tuple[Domain, int], tuple[Domain, int]]:
    return ("train", train), ("test", test)


def _cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run_all(jobs: Sequence[_Job], workers: int) -> Iterator[None]:
    """Run the jobs, in this process or in new ones, and yield after each."""
    if workers == 1:
        for job in jobs:
            _write_photo(*job)
            yield
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, initializer=cv2.setNumThreads, initargs=(1,))
    try:
        for finished in as_completed([pool.submit(_write_photo, *job) for job in jobs]):
            finished.result()
            yield
    finally:
        # After an error or Ctrl-C, do not render the remaining photos.
        pool.shutdown(wait=True, cancel_futures=True)


def _write_photo(
    path: Path, label: str, domain: Domain, number: tuple[int, int], size: tuple[int, int]
) -> None:
    """Render and write one photo; `number` holds the dataset's seed and the photo's index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rendering = render(label, number[0] * 100_003 + number[1], size=size, domain=domain)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    Image.fromarray(rendering.pixels).save(draft, "JPEG", quality=92)
    os.replace(draft, path)
