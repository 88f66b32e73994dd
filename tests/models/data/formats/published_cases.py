"""Tiny sets in the published layouts of Oxford-IIIT Pet and Food-101."""

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from models.data.pixels import Pixels

WIDTH, HEIGHT = 44, 40
BREEDS = {"Abyssinian": 1, "saint_bernard": 2}
DISHES = ("apple_pie", "pho")


def draw_pet(seed: int) -> tuple[Pixels, Pixels]:
    """A photo, uint8 HxWx3, and its trimap, uint8 HxW: 1 pet, 2 background, 3 border."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    photo = np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    trimap = np.full((HEIGHT, WIDTH), 2, np.uint8)
    middle = (int(rng.integers(18, 26)), int(rng.integers(18, 22)))
    cv2.circle(trimap, middle, 15, 3, -1)
    cv2.circle(trimap, middle, 11, 1, -1)
    return photo, trimap


def write_pets(root: Path, per_split: int = 4) -> Path:
    """A set of two breeds in ``root/oxford-iiit-pet``; the folder is returned."""
    base = root / "oxford-iiit-pet"
    for part in ("images", "annotations/trimaps"):
        (base / part).mkdir(parents=True)
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for breed, number in BREEDS.items():
        for count in range(2 * per_split):
            name = f"{breed}_{count + 1}"
            photo, trimap = draw_pet(100 * number + count)
            Image.fromarray(photo).save(base / "images" / f"{name}.jpg", quality=95)
            Image.fromarray(trimap).save(base / "annotations" / "trimaps" / f"{name}.png")
            row = f"{name} {number} {number} 1"
            lists["trainval" if count % 2 else "test"].append(row)
    lists["list"] = ["#Image CLASS-ID SPECIES BREED ID", *lists["trainval"], *lists["test"]]
    for split, rows in lists.items():
        (base / "annotations" / f"{split}.txt").write_text("".join(f"{row}\n" for row in rows))
    return base


def write_food101(root: Path, numbers: Mapping[str, int] | None = None) -> Path:
    """A set of two dishes in ``root/food-101``; the folder is returned.

    Args:
        numbers: photos of each dish by official split.
    """
    base = root / "food-101"
    (base / "meta").mkdir(parents=True)
    lists: dict[str, dict[str, list[str]]] = {}
    seed = 500
    for split, number in (numbers or {"train": 4, "test": 3}).items():
        for dish in DISHES:
            for _ in range(number):
                seed += 1
                file = base / "images" / dish / f"{seed}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw_pet(seed)[0]).save(file, quality=95)
                lists.setdefault(split, {}).setdefault(dish, []).append(f"{dish}/{seed}")
    for split, files in lists.items():
        (base / "meta" / f"{split}.json").write_text(json.dumps(files))
    (base / "meta" / "classes.txt").write_text("".join(f"{dish}\n" for dish in DISHES))
    return base
