"""The photos that benchmarks expand: scenes the project renders itself, always the same."""

import hashlib
from pathlib import Path

from models.data import pixels
from models.data.records import Artifact, Reference
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs
from tasks.ingest.photos import Ingest, ingest
from tasks.screen.screen import HeldOut, index_heldout
from tests.demo_scenes.render import render

PHOTO = (400, 533)


def draw_photo(folder: Path, label: str, seed: int, size: tuple[int, int] = PHOTO) -> Path:
    """A rendered scene of (width, height) px as a PNG file, which is kept for the next call."""
    path = folder / f"{label}_{seed}.png"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pixels.encode_png(render(label, seed, size=size).pixels))
    return path


def take_in(run: RunContext, path: Path) -> tuple[Reference, SharedInputs]:
    """The photo of a file as a reference in the store, beside no held-out photos and no plates."""
    label = path.stem.partition("_")[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"{label}/{path.stem}"
    file = Artifact(
        **{"key": digest, "digest": digest, "stage": "file", "version": 1, "name": name},
        **{"media": "png", "size": 0, "metadata": {"path": str(path)}},
    )
    [photo] = ingest(run, Ingest(), [file])
    reference = Reference(name=name, file=path.name, label=label, split="train", photo=photo)
    return reference, SharedInputs(heldout=tuple(index_heldout(run, HeldOut(), [])))
