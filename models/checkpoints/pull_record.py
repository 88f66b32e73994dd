"""What the first pull of a revision had: sums that later pulls, also from other places, must meet.

``sums.json`` of the models folder maps ``id@revision`` to the sha256 of what was published for each
of its files. It outlives the files, and may be copied to other machines together with
``revisions.json``.
"""

import json

from models.checkpoints.local import (
    LOCK,
    CheckpointMissing,
    KeptFile,
    folder_of,
    models_folder,
    read_manifest,
    write_whole,
)
from models.data.file_lock import file_lock

SUMS = "sums.json"


def recorded(checkpoint: str, revision: str) -> dict[str, str]:
    """The published sha256 of each file of a revision, by the name it is kept under; empty where
    it was never pulled here.

    Raises:
        CheckpointMissing: sums.json is not readable as such.
    """
    manifest = read_manifest(folder_of(checkpoint, revision))
    here = published(manifest.files) if manifest else {}
    return here | _all().get(f"{checkpoint}@{revision}", {})


def record(checkpoint: str, revision: str, files: dict[str, KeptFile]) -> None:
    """Note the sums of a revision's files; what was noted before stays."""
    name = f"{checkpoint}@{revision}"
    with file_lock(models_folder() / LOCK):
        sums = _all()
        noted = sums.get(name, {})
        if noted != (merged := published(files) | noted):
            sums[name] = merged
            text = json.dumps(sums, indent=1, sort_keys=True)
            write_whole(models_folder() / SUMS, text)


def published(files: dict[str, KeptFile]) -> dict[str, str]:
    """The sha256 of what was published for each file: before it was converted, if it was."""
    return {name: (file.converted_from or file).sha256 for name, file in files.items()}


def _all() -> dict[str, dict[str, str]]:
    path = models_folder() / SUMS
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): dict(sums) for name, sums in content.items()}
    except (ValueError, TypeError, AttributeError):
        raise CheckpointMissing(
            f"{path} is no JSON object of sums; mend it, or remove it and pull again"
        ) from None
