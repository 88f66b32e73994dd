"""Tiny published checkpoints, a catalog that knows them, and a mirror that serves them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from models.checkpoints.catalog import CatalogEntry, WeightFile
from models.checkpoints.local import models_folder
from tests.mirror import Mirror, serving

PIN, OTHER = "a" * 40, "b" * 40
WEIGHTS = save({"w": torch.arange(120_000, dtype=torch.float32)}, metadata={"format": "pt"})
FILES = {
    "config.json": b'{"kind": "tiny"}\n',
    "tokenizer/vocab.json": b"{}\n",
    "unet/weights.fp16.safetensors": WEIGHTS,
    "unet/weights.safetensors": b"in full precision, not wanted",
    "pipeline.py": b"import os",
    "README.md": b"# not wanted",
}


def catalog_entry(checkpoint: str, revision: str | None, **changes: object) -> CatalogEntry:
    """An entry for a checkpoint whose files are `FILES`."""
    weights = WeightFile(
        path="unet/weights.safetensors",
        published=("unet/weights.fp16.safetensors", "unet/weights.bin"),
    )
    fields: dict[str, object] = {
        "id": checkpoint,
        "title": "tiny",
        "stage": "depth",
        "kind": "Tiny",
        "revision": revision,
        "licence": "MIT",
        "commercial": "yes",
        "size": 1,
        "vram": 1,
        "files": ("config.json", "tokenizer/*.json"),
        "weights": (weights,),
    }
    return CatalogEntry.model_validate(fields | changes)


def ignore_progress(done: int, total: int, doing: str) -> None:
    """Check what a pull reports."""
    assert 0 <= done <= total
    assert doing


def files_in(folder: Path) -> set[str]:
    """All files below a folder, by path."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder, and return the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def staged_files() -> list[Path]:
    """Files that pulls left in staging folders."""
    return [path for path in models_folder().rglob("*.partial/**/*") if path.is_file()]


class CreatesFolder:
    """A pickle of this creates a folder when it is loaded with code execution."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> list[CatalogEntry]:
    """The catalog of a test: one checkpoint with a pinned revision, one without."""
    entries = [catalog_entry("tiny/pinned", PIN), catalog_entry("tiny/unpinned", None)]
    for module in ("models.checkpoints.catalog", "synthset.models"):
        monkeypatch.setattr(f"{module}.entries", lambda: tuple(entries))
    return entries


@pytest.fixture
def mirror(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    catalog: list[CatalogEntry],
    no_network: list[str],
) -> Iterator[Mirror]:
    """A mirror of both checkpoints, named by HF_ENDPOINT; an empty models folder; no waiting."""
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-hub-home"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with serving(tmp_path / "published") as mirror:
        monkeypatch.setenv("HF_ENDPOINT", mirror.url)
        mirror.put("tiny/pinned", OTHER, {"config.json": b"newer"})
        mirror.put("tiny/pinned", PIN, FILES)
        mirror.put("tiny/unpinned", PIN, FILES)
        yield mirror
    assert no_network == []
