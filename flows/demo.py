"""The demo's photos: rendered scenes, written once."""

import os
from pathlib import Path

from flows.progress import bar
from models.scene import write_photos

TRAIN, TEST = 12, 16


def render_demo_photos(folder: Path) -> None:
    """Render the scenes that are not there yet; they are pictures by a ray marcher, not photos."""
    with bar("rendering scenes") as advance:
        write_photos(
            folder, train=TRAIN, test=TEST, processes=os.cpu_count() or 1, progress=advance
        )
