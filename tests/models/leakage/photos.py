"""Photos of the demo, and changed copies of them."""

from functools import cache
from pathlib import Path

import numpy as np

import flows
from models.data.pixels import Pixels
from models.data.read_photo import read_photo

FOLDER = Path(flows.__file__).parent / "demo_photos" / "test"


@cache
def read_photos(count: int) -> list[Pixels]:
    """Some photos of the demo's test set, of all classes in turn."""
    classes = [sorted(folder.iterdir()) for folder in sorted(FOLDER.iterdir())]
    files = [files[number] for number in range(count) for files in classes][:count]
    return [read_photo(file.read_bytes()).pixels for file in files]


def crop(photo: Pixels, share: float) -> Pixels:
    """The centre, with both sides shorter by a share."""
    height, width = photo.shape[:2]
    top, left = round(height * share / 2), round(width * share / 2)
    return np.ascontiguousarray(photo[top : height - top, left : width - left])
