"""Render the demo's photos that are missing below a folder: `python -m tests.demo_scenes DIR`."""

import sys
from pathlib import Path

from tests.demo_scenes.render import write_photos

CLASSES = ("bottle", "bowl", "car", "mug")
TRAIN, TEST = 28, 24

if __name__ == "__main__":
    write_photos(Path(sys.argv[1]), train=TRAIN, test=TEST, classes=CLASSES)
