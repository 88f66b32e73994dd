"""Compares composing scenes (640x480, 3 objects, JPEG) with scripts by hand and with flip-data.

All sides have the same cut-outs and backgrounds in memory, encode JPEG, and make boxes; all but
flip-data make masks. The quality is 95, except that flip-data has its own. That package (PyPI,
GPL-3.0) is measured where it is installed; synthset does not need it.
"""

import contextlib
import importlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageFilter

from benchmarks.machine import table
from benchmarks.over_cores import rates_over_cores
from models.compositing.backgrounds.scene import SCENES, procedural_background
from models.compositing.compose_scene import label_objects, paint_scene
from models.compositing.cut_out import prepare_cut_out
from models.compositing.scene_layout import draw_layout
from models.compositing.scene_settings import Blending, SceneSettings
from models.data.pixels import Pixels, encode_jpeg

WIDTH, HEIGHT, OBJECTS, QUALITY = 640, 480, 3, 95
SMALLEST, LARGEST = 0.25, 0.5
CORES = 2
SETTINGS = SceneSettings(
    min_objects=OBJECTS, max_objects=OBJECTS, smallest=SMALLEST, largest=LARGEST, truncation=0
)
MIXED = "synthset, the four fast blendings in turn"
PILLOW, OPENCV = "by hand, Pillow", "by hand, OpenCV in float"
Make = Callable[[int], bytes]


def main(_folder: Path) -> None:
    """Print images per CPU second of each side."""
    cut_outs, backgrounds = _draw_cut_outs(), _draw_backgrounds()
    sides: dict[str, tuple[Make, int]] = {MIXED: (_synthset(cut_outs, backgrounds, None), 400)}
    for blending in ("none", "alpha", "gaussian", "box"):
        sides[f"synthset, {blending}"] = (_synthset(cut_outs, backgrounds, blending), 200)
    sides["synthset, poisson"] = (_synthset(cut_outs, backgrounds, "poisson"), 30)
    sides[OPENCV] = (_opencv(cut_outs, backgrounds), 100)
    sides[PILLOW] = (_pillow(cut_outs, backgrounds, "JPEG"), 60)
    sides["by hand, Pillow, PNG"] = (_pillow(cut_outs, backgrounds, "PNG"), 20)
    with contextlib.suppress(ImportError):
        sides["flip-data"] = (_flip_data(cut_outs, backgrounds), 20)
    rates = {name: _rate(make, count) for name, (make, count) in sides.items()}
    print(table(["side", "images per CPU s"], [[name, rate] for name, rate in rates.items()]))
    others = [name for name in rates if not name.startswith("synthset")]
    ratios = ", ".join(f"{rates[MIXED] / rates[name]:.1f} times {name}" for name in others)
    print(f"\n**synthset makes {rates[MIXED]:.0f} images per CPU second**: {ratios}.")
    if len(os.sched_getaffinity(0)) >= CORES:
        alone, together = rates_over_cores(_prepare, 400, CORES)
        print(
            f"\n**{CORES} processes make {together.per_s / alone.per_s:.2f} times the images of "
            f"one per second** ({together.per_s:.0f} and {alone.per_s:.0f}), and "
            f"{together.per_cpu_s / alone.per_cpu_s:.2f} times as many per CPU second."
        )


def _prepare() -> Make:
    """What a process of its own makes: the scenes of `MIXED`."""
    cv2.setNumThreads(1)
    return _synthset(_draw_cut_outs(), _draw_backgrounds(), None)


def _rate(make: Make, count: int) -> float:
    """Images per CPU second, the best of three rounds."""
    make(0)
    rates = []
    for _ in range(3):
        started = time.process_time()
        for number in range(count):
            make(number)
        rates.append(count / (time.process_time() - started))
    return max(rates)


def _draw_cut_outs() -> list[Pixels]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:320, :280]
    cut_outs = []
    for _ in range(12):
        radius = np.hypot((x - 140) / 138, (y - 160) / 158)
        wave = 1 + 0.12 * np.sin(int(rng.integers(2, 7)) * np.arctan2(y - 160, x - 140))
        alpha = np.clip((1 - radius * wave / 1.12) * 6000, 0, 255).astype(np.uint8)
        colours = cv2.resize(rng.integers(0, 256, (24, 21, 3), np.uint8), (280, 320))
        cut_outs.append(np.dstack([colours, alpha]))
    return cut_outs


def _draw_backgrounds() -> list[Pixels]:
    rng = np.random.default_rng(1)
    size = (WIDTH * 5 // 4, HEIGHT * 5 // 4)
    return [procedural_background(SCENES[n % len(SCENES)], size, rng).pixels for n in range(8)]


def _window(background: Pixels, rng: np.random.Generator) -> Pixels:
    top = int(rng.integers(background.shape[0] - HEIGHT + 1))
    left = int(rng.integers(background.shape[1] - WIDTH + 1))
    return np.ascontiguousarray(background[top : top + HEIGHT, left : left + WIDTH])


def _synthset(cut_outs: list[Pixels], backgrounds: list[Pixels], blending: Blending | None) -> Make:
    prepared = [prepare_cut_out(image) for image in cut_outs]
    turns: tuple[Blending, ...] = ("none", "alpha", "gaussian", "box")

    def make(number: int) -> bytes:
        rng = np.random.default_rng(number)
        chosen = [prepared[at] for at in rng.integers(len(prepared), size=OBJECTS)]
        background = _window(backgrounds[number % len(backgrounds)], rng)
        layout = draw_layout(chosen, [], SETTINGS, rng)
        label_objects(layout)
        used = blending or turns[number % len(turns)]
        return encode_jpeg(paint_scene(background, layout, used, SETTINGS.feather), QUALITY)

    return make


def _pillow(cut_outs: list[Pixels], backgrounds: list[Pixels], form: str) -> Make:
    """Resize, rotate, blur the mask, paste; a mask of each object is kept."""
    objects = [Image.fromarray(image) for image in cut_outs]
    scenes = [Image.fromarray(image) for image in backgrounds]

    def make(number: int) -> bytes:
        rng = np.random.default_rng(number)
        scene = scenes[number % len(scenes)].resize((WIDTH, HEIGHT))
        masks = []
        for at in rng.integers(len(objects), size=OBJECTS):
            cut = objects[at]
            scale = rng.uniform(SMALLEST, LARGEST) * HEIGHT / max(cut.size)
            cut = cut.resize(
                (round(cut.width * scale), round(cut.height * scale)), Image.Resampling.LANCZOS
            )
            cut = cut.rotate(rng.uniform(-30, 30), Image.Resampling.BICUBIC, expand=True)
            place = (
                int(rng.integers(max(1, WIDTH - cut.width))),
                int(rng.integers(max(1, HEIGHT - cut.height))),
            )
            alpha = cut.getchannel("A").filter(ImageFilter.GaussianBlur(1.5))
            scene.paste(cut.convert("RGB"), place, alpha)
            mask = Image.new("L", (WIDTH, HEIGHT))
            mask.paste(cut.getchannel("A"), place)
            masks.append((mask, mask.getbbox()))
        blob = io.BytesIO()
        scene.save(blob, form, quality=QUALITY, subsampling=0)
        return blob.getvalue()

    return make


def _opencv(cut_outs: list[Pixels], backgrounds: list[Pixels]) -> Make:
    """Warp into the frame, blend the whole frame in float; a mask of each object is kept."""

    def make(number: int) -> bytes:
        rng = np.random.default_rng(number)
        scene = cv2.resize(backgrounds[number % len(backgrounds)], (WIDTH, HEIGHT))
        mixed = scene.astype(np.float32)
        masks = []
        for at in rng.integers(len(cut_outs), size=OBJECTS):
            cut = cut_outs[at]
            scale = rng.uniform(SMALLEST, LARGEST) * HEIGHT / max(cut.shape)
            matrix = cv2.getRotationMatrix2D((140, 160), rng.uniform(-30, 30), scale)
            matrix[0, 2] += rng.uniform() * (WIDTH - 280)
            matrix[1, 2] += rng.uniform() * (HEIGHT - 320)
            warped = cv2.warpAffine(cut, matrix, (WIDTH, HEIGHT))
            alpha = cv2.GaussianBlur(warped[..., 3], (0, 0), 1.5)[..., None] / np.float32(255)
            mixed = mixed * (1 - alpha) + warped[..., :3] * alpha
            masks.append(cv2.boundingRect((warped[..., 3] > 127).astype(np.uint8)))
        return encode_jpeg(np.rint(mixed).astype(np.uint8), QUALITY)

    return make


def _flip_data(cut_outs: list[Pixels], backgrounds: list[Pixels]) -> Make:
    """The package's own pipeline: resize, rotate, place without overlap, draw, box, save."""
    flip: Any = importlib.import_module("flip")
    parts, folder = flip.transformers, tempfile.mkdtemp()
    side = parts.data_augmentation.RandomResize(
        mode="symmetric_h", h_min=int(SMALLEST * HEIGHT), h_max=int(LARGEST * HEIGHT)
    )
    steps = [
        parts.transformer.ApplyToObjects(
            [side, parts.data_augmentation.Rotate(mode="random", min=-30, max=30)]
        ),
        parts.domain_randomization.ObjectsRandomPosition(force_overlap=False),
        parts.domain_randomization.Draw(),
        parts.labeler.CreateBoundingBoxes(),
        parts.io.SaveImage(folder, name="scene"),
    ]
    pipeline = parts.transformer.Compose(steps)

    def make(number: int) -> bytes:
        rng = np.random.default_rng(number)
        objects = [
            parts.element.Element(image=cut_outs[at].copy(), name="object")
            for at in rng.integers(len(cut_outs), size=OBJECTS)
        ]
        scene = cv2.resize(backgrounds[number % len(backgrounds)], (WIDTH, HEIGHT))
        with contextlib.redirect_stdout(io.StringIO()):
            list(pipeline(parts.element.Element(image=scene, name="scene", objects=objects)))
        return (Path(folder) / "scene.jpg").read_bytes()

    return make
