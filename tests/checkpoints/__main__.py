"""``python -m tests.checkpoints FOLDER``: what ``make demo PROFILE=tiny`` needs.

The checkpoints come into ``FOLDER/models`` as ``synthset models pull --from`` brings them there, so
that the run after it loads them as it would load the published ones.
"""

import sys
from pathlib import Path

from tests.checkpoints.everything import build_models_folder
from tests.demo_scenes.render import write_photos

CLASSES = ("bottle", "mug")


def main() -> None:
    """Build what is not there yet."""
    folder = Path(sys.argv[1])
    if not (folder / "models" / "revisions.json").is_file():
        build_models_folder(folder / "models")
    write_photos(folder / "photos", train=5, test=3, classes=CLASSES)


main()
