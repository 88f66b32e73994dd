"""Rendered photos of a part under a fixed camera, good or scratched, with masks."""

from functools import cache
from pathlib import Path

import numpy as np

from models.data.pixels import Pixels, encode_png
from models.data.records import Sources
from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest

WIDTH, HEIGHT = 160, 120
GOOD, SCRATCHED = 8, 8


@cache
def _part() -> Pixels:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((columns - 80) / 60) ** 2 + ((rows - 60) / 42) ** 2 < 1
    grey = np.where(inside, 150, 70) + columns % 13
    noise = np.random.default_rng(1).normal(0, 6, grey.shape)
    return np.clip(grey + noise, 0, 255).astype(np.uint8)


def draw_part(seed: int, scratched: bool) -> tuple[Pixels, Pixels]:
    """A photo, uint8 HxWx3, and the mask of its scratch, uint8 HxW."""
    rng = np.random.default_rng(seed)
    grey = _part() + rng.normal(0, 2, (HEIGHT, WIDTH))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    if scratched:
        top, left = rng.integers(40, 75), rng.integers(40, 90)
        mask[top : top + 3, left : left + 24] = 255
    photo = np.clip(grey + (mask > 0) * 70, 0, 255).astype(np.uint8)
    return np.dstack([photo] * 3), mask


def write_parts(folder: Path) -> None:
    """The photos in the layout of public industrial sets: train shows good parts alone."""
    for number in range(GOOD):
        level = "train" if number % 2 else "test"
        _write(folder / level / "good" / f"{number:03}.png", draw_part(number, False)[0])
    for number in range(SCRATCHED):
        photo, mask = draw_part(100 + number, True)
        _write(folder / "test" / "scratch" / f"{number:03}.png", photo)
        _write(folder / "ground_truth" / "scratch" / f"{number:03}_mask.png", mask)


def read_parts(run: RunContext, folder: Path, group_by: str = "none") -> Sources:
    """The photos as whole scenes."""
    splits = SplitParameters(group_by=group_by, compare_pictures=False)
    return ingest_photos(run, folder, Ingest(objects="scene"), splits)


def _write(file: Path, pixels: Pixels) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_png(pixels))
