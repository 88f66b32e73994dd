"""Forty reference photos, a recipe with few images of each, and an undisturbed run."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.conftest import SHARED
from tests.e2e.stack import base_environment
from tests.tiny import ROOT, draw_photo, files_of, manifest_of

PER_CLASS = {"train": 20, "val": 2, "test": 3}
REFERENCES = 2 * PER_CLASS["train"]
CLOTHES = SHARED / "data" / "clothing"
# Small images, four per photo, and a training of one epoch per dataset and baseline. The split, the
# datasets, the trainings and the limits of screening are the defaults.
RECIPE = """\
name: nightly
ingest: {max_side: 160}
generators:
  multiview:
    upscale: {factor: 1}
    multiview: {size: 96, views: 1}
    upscale_views: {factor: 1}
    augment: {n_augmentations: 1}
    segment: {working_side: 128}
    background: {n_backgrounds: 1, width: 120, height: 120}
    outpaint: {grid_size: 2}
resize: {longest_side: 96}
train:
  network: small_cnn
  pretrained: false
  learning_rate: 0.002
  milestones: [1]
  image_size: 32
  epochs: 1
  seeds: [0]
  loggers: [csv]
quality: null
"""


@dataclass(frozen=True)
class Scene:
    """Photos and recipe, and a run of them in one process with a folder as store."""

    photos: Path
    recipe: Path
    out: Path
    real: bool
    process: subprocess.Popen[bytes]
    since: float

    def wait(self) -> float:
        """Wait for the undisturbed run; the seconds it took."""
        code = self.process.wait(900)
        assert code == 0, (self.out.parent / "undisturbed.log").read_text(errors="replace")
        return time.monotonic() - self.since

    @property
    def store(self) -> Path:
        """The store of the undisturbed run."""
        return self.out / "store"

    @cached_property
    def datasets(self) -> dict[str, str]:
        """The digest of each file of the undisturbed datasets."""
        return files_of(self.out / "datasets")

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The undisturbed manifest."""
        return manifest_of(self.out)

    @cached_property
    def artifacts(self) -> dict[str, int]:
        """The bytes of every file of an artifact, record or blob, by its name in the store."""
        return {
            path.relative_to(self.store).as_posix(): path.stat().st_size
            for path in self.store.glob("*/??/*.*")
            if path.relative_to(self.store).parts[0] not in ("documents", "leases")
        }

    @cached_property
    def records(self) -> dict[str, list[str]]:
        """The names of the records of each reference."""
        return records_by_item(self.store)


def records_by_item(store: Path) -> dict[str, list[str]]:
    """For each work item of a store, the files of its artifacts' records."""
    documents = store / "documents"
    records = {}
    for path in (documents / "items").glob("??/*.json"):
        if path.name.endswith(".result.json"):
            continue
        item = json.loads(path.read_text())["item"]
        content = json.loads((documents / "records" / path.parent.name / path.name).read_text())
        records[item["name"]] = [
            f"{artifact['stage']}/{artifact['key'][:2]}/{artifact['key']}.record"
            for artifact in content["artifacts"]
        ]
    return records


def set_scene(folder: Path) -> Scene:
    """Copy real photos, or draw some if there are none; start the undisturbed run."""
    photos, recipe, out = folder / "photos", folder / "recipe.yaml", folder / "undisturbed"
    real = CLOTHES.is_dir()
    (_copy_photos if real else _draw_photos)(photos)
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "synthset.main", "run", str(recipe)]
    command += ["--photos", str(photos), "--out", str(out)]
    settings = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
    with (folder / "undisturbed.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**base_environment(), **settings},
            start_new_session=True,
        )
    return Scene(photos, recipe, out, real, process, time.monotonic())


def _copy_photos(folder: Path) -> None:
    for label in ("pants", "shoes"):
        train = sorted((CLOTHES / "train" / label).glob("*.jpg"))
        test = sorted((CLOTHES / "test" / label).glob("*.jpg"))
        chosen = {
            "train": train[: PER_CLASS["train"]],
            "val": train[-PER_CLASS["val"] :],
            "test": test[: PER_CLASS["test"]],
        }
        for split, files in chosen.items():
            (folder / split / label).mkdir(parents=True)
            for file in files:
                shutil.copy(file, folder / split / label)


def _draw_photos(folder: Path) -> None:
    number = 0
    for label in ("block", "disc"):
        for split, count in PER_CLASS.items():
            (folder / split / label).mkdir(parents=True)
            for _ in range(count):
                draw_photo(folder / split / label / f"{label}_{number}.png", label, number)
                number += 1
