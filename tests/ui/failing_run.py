"""A run in which one reference fails because a folder blocks one of its records."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.config.recipe import Recipe
from flows.generators.multiview import expand, key_of
from flows.pipeline import take_in
from models.data.records import Artifact, Reference
from models.demo_scenes.render import write_photos
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs
from tasks.ingest.photos import ingest_plates
from tasks.ingest.references import choose_references
from tasks.screen.screen import HeldOut, index_heldout
from tasks.store.store import open_store
from tests.tiny import RECIPE
from tests.ui.server import Ended, Server, run

CLASSES = ("car", "mug")
TRAIN, TEST = 3, 2
DEPLOYMENT = "expand_reference/gpu"
PARENT = """\
import json, sys
from flows.config.recipe import Recipe
from flows.pipeline import Place, regenerate
regenerate(*(kind.model_validate(one) for kind, one in zip((Recipe, Place), json.load(sys.stdin))))
"""
# Larger than the images of other tests: they are shown in the docs.
LARGER = {
    "multiview": {"size": 128, "views": 2},
    "background": {"copies": 1, "width": 160, "height": 120},
    "resize": {"longest_side": 128},
}


@dataclass(frozen=True)
class FailingRun:
    """A run, and the artifact of the reference at which it will fail."""

    recipe: Recipe
    photos: Path
    out: Path
    references: list[Reference]
    failing: Reference
    order: str
    fault: Artifact

    @property
    def store(self) -> Path:
        """The run's store."""
        return self.out / "store"

    @property
    def blocking_folder(self) -> Path:
        """A folder with the name of a record, so that the record can't be written."""
        return self.store / self.fault.stage / self.fault.key[:2] / f"{self.fault.key}.record"

    def block(self) -> None:
        """Make the blocking folder."""
        open_store(self.store)
        self.blocking_folder.mkdir(parents=True)

    def run(self, server: Server) -> Ended:
        """Run the parent in a process, and its children on the deployment's workers."""
        place = {
            "photos": str(self.photos),
            "out": str(self.out),
            "store": str(self.store),
            "at_once": len(self.references),
            "deployment": DEPLOYMENT,
        }
        arguments = json.dumps([self.recipe.model_dump(mode="json"), place])
        return run([sys.executable, "-c", PARENT], server.environment, arguments)

    def records(self) -> dict[str, tuple[int, int]]:
        """Every record of the store with its inode and its time of writing (ns)."""
        return {
            path.relative_to(self.store).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.store.glob("*/??/*.record")
            if path.is_file()
        }


def plan_failing_run(folder: Path) -> FailingRun:
    """Render the scenes and find the key of the last reference's screening.

    Keys depend on the work alone: this rehearsal in another store gives the keys of the run.
    """
    settings: dict[str, Any] = yaml.safe_load(RECIPE) | LARGER
    recipe = Recipe.model_validate(
        {**settings, "name": "scenes", "profile": "classical", "min_references": len(CLASSES)}
    )
    photos, out = folder / "photos", folder / "nightly"
    write_photos(photos, train=TRAIN, test=TEST, classes=CLASSES, size=(240, 180), processes=1)
    store = open_store(folder / "rehearsal")
    context = RunContext(store, recipe.name)
    photos_by_split = take_in(context, recipe, photos)
    references = choose_references(photos_by_split.of("train"), None, None, recipe.split.seed)
    held_out = index_heldout(
        context, HeldOut(), [one.photo for one in photos_by_split.of("val", "test")]
    )
    plates = ingest_plates(context, recipe.plates, recipe.ingest)
    beside = SharedInputs(plates=tuple(plates), heldout=tuple(held_out))
    failing = references[-1]
    rehearsal = RunContext(store, failing.name)
    expand(rehearsal, recipe, failing, beside)
    fault = next(one for one in rehearsal.made.values() if one.stage == "screen")
    order = key_of(recipe, failing, beside)
    return FailingRun(recipe, photos, out, references, failing, order, fault)


def list_tasks(server: Server, run: str) -> list[tuple[str, str, str]]:
    """Name, state and message of a flow run's task runs, in the order of their start."""
    runs = server.ask(
        *("POST", "/task_runs/filter"),
        flow_runs={"id": {"any_": [run]}},
        sort="EXPECTED_START_TIME_ASC",
    )
    return [(run["name"], run["state"]["name"], run["state"]["message"] or "") for run in runs]


def states(tasks: list[tuple[str, str, str]]) -> Counter[str]:
    """How many task runs ended in each state."""
    return Counter(state for _, state, _ in tasks)
