"""The demo's photos: rendered scenes, written once."""

from pathlib import Path

from flows.execution.progress import progress_bar
from models.demo_scenes.render import write_photos

CLASSES = ("bottle", "bowl", "car", "mug")
TRAIN, TEST = 28, 24


def render_demo_photos(folder: Path) -> None:
    """Render the scenes that are not there yet; they are pictures by a ray marcher, not photos."""
    with progress_bar("rendering scenes") as advance:
        write_photos(folder, train=TRAIN, test=TEST, classes=CLASSES, progress=advance)
