"""A night in which one reference fails: a run on a worker, and an obstacle in its store."""

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
# Larger than other tests' images, so that people see something in the pictures of the docs.
LARGER = {
    "multiview": {"size": 128, "views": 2},
    "background": {"copies": 1, "width": 160, "height": 120},
    "resize": {"longest_side": 128},
}


@dataclass(frozen=True)
class Night:
    """What is to be done, and at which artifact of which reference it will fail."""

    recipe: Recipe
    photos: Path
    out: Path
    references: list[Reference]
    unlucky: Reference
    order: str
    fault: Artifact

    @property
    def store(self) -> Path:
        """The run's store."""
        return self.out / "store"

    @property
    def obstacle(self) -> Path:
        """A record's place, taken by a folder: what is to be written there can't be."""
        return self.store / self.fault.stage / self.fault.key[:2] / f"{self.fault.key}.record"

    def block(self) -> None:
        """Put the obstacle there."""
        open_store(self.store)
        self.obstacle.mkdir(parents=True)

    def run(self, server: Server) -> Ended:
        """The parent run in a process, its children on the deployment's workers."""
        place = {
            **{"photos": str(self.photos), "out": str(self.out), "store": str(self.store)},
            **{"at_once": len(self.references), "deployment": DEPLOYMENT},
        }
        asked = json.dumps([self.recipe.model_dump(mode="json"), place])
        return run([sys.executable, "-c", PARENT], server.environment, asked)

    def records(self) -> dict[str, tuple[int, int]]:
        """Every record of the store with its inode and its time of writing (ns)."""
        return {
            path.relative_to(self.store).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.store.glob("*/??/*.record")
            if path.is_file()
        }


def plan_night(folder: Path) -> Night:
    """Render the scenes, and find out what the last reference's screening will be called.

    Keys follow from the work alone: what is made here, in a store of its own, has the keys that it
    will have in the run.
    """
    settings: dict[str, Any] = yaml.safe_load(RECIPE) | LARGER
    recipe = Recipe.model_validate(
        {**settings, "name": "scenes", "profile": "classical", "min_references": len(CLASSES)}
    )
    photos, out = folder / "photos", folder / "nightly"
    write_photos(photos, train=TRAIN, test=TEST, classes=CLASSES, size=(240, 180), processes=1)
    store = open_store(folder / "rehearsal")
    context = RunContext(store, recipe.name)
    taken = take_in(context, recipe, photos)
    references = choose_references(taken.of("train"), None, None, recipe.split.seed)
    held_out = index_heldout(context, HeldOut(), [one.photo for one in taken.of("val", "test")])
    plates = ingest_plates(context, recipe.plates, recipe.ingest)
    beside = SharedInputs(plates=tuple(plates), heldout=tuple(held_out))
    unlucky = references[-1]
    rehearsal = RunContext(store, unlucky.name)
    expand(rehearsal, recipe, unlucky, beside)
    fault = next(one for one in rehearsal.made.values() if one.stage == "screen")
    order = key_of(recipe, unlucky, beside)
    return Night(recipe, photos, out, references, unlucky, order, fault)


def told_tasks(server: Server, run: str) -> list[tuple[str, str, str]]:
    """Name, state and message of a flow run's task runs, in the order of their start."""
    runs = server.ask(
        *("POST", "/task_runs/filter"),
        flow_runs={"id": {"any_": [run]}},
        sort="EXPECTED_START_TIME_ASC",
    )
    return [(one["name"], one["state"]["name"], one["state"]["message"] or "") for one in runs]


def states(tasks: list[tuple[str, str, str]]) -> Counter[str]:
    """How many task runs ended in each state."""
    return Counter(state for _, state, _ in tasks)
