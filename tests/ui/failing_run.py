"""A run in which one reference fails because a folder blocks one of its records."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.config.recipe import Recipe
from tasks.store.store import open_store
from tests.demo_scenes.render import write_photos
from tests.e2e.scene import records_by_item
from tests.tiny import RECIPE
from tests.ui.server import Ended, Server, run

CLASSES = ("car", "mug")
TRAIN, TEST = 3, 2
DEPLOYMENT = "generate_item/gpu"
PARENT = """\
import json, sys
from flows.config.recipe import Recipe
from flows.execution.run_items import Execution
from flows.pipeline import RunPaths, pipeline
kinds = (Recipe, RunPaths, Execution)
pipeline(*(kind.model_validate(part) for kind, part in zip(kinds, json.load(sys.stdin))))
"""
# Larger than the images of other tests: they are shown in the docs.
LARGER = {
    "multiview": {"size": 128, "views": 2},
    "background": {"n_backgrounds": 1, "width": 160, "height": 120},
}


@dataclass(frozen=True)
class FailingRun:
    """A run, and the record of the reference ``failing`` that will be blocked."""

    recipe: Recipe
    photos: Path
    out: Path
    references: list[str]
    failing: str
    blocked_record: str

    @property
    def label(self) -> str:
        """The class of the failing reference."""
        return self.failing.partition("/")[0]

    @property
    def store(self) -> Path:
        """The run's store."""
        return self.out / "store"

    @property
    def blocking_folder(self) -> Path:
        """A folder with the name of a record, so that the record can't be written."""
        return self.store / self.blocked_record

    def block(self) -> None:
        """Make the blocking folder."""
        open_store(self.store)
        self.blocking_folder.mkdir(parents=True)

    def run(self, server: Server) -> Ended:
        """Run the parent in a process, and its children on the deployment's workers."""
        paths = {"photos": str(self.photos), "out": str(self.out), "store": str(self.store)}
        execution = {"max_parallel": len(self.references), "generate_on": DEPLOYMENT}
        arguments = json.dumps([self.recipe.model_dump(mode="json"), paths, execution])
        return run([sys.executable, "-c", PARENT], server.environment, arguments)

    def records(self) -> dict[str, tuple[int, int]]:
        """Every record of the store with its inode and its time of writing (ns)."""
        return {
            path.relative_to(self.store).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.store.glob("*/??/*.record")
            if path.is_file()
        }


def plan_failing_run(folder: Path, environment: dict[str, str]) -> FailingRun:
    """Render the scenes and find the key of the last reference's screening.

    Keys depend on the work alone: a rehearsal in another store, without training, gives the keys of
    the run.
    """
    settings: dict[str, Any] = yaml.safe_load(RECIPE)
    settings["generators"]["multiview"] |= LARGER
    settings |= {"name": "scenes", "min_references": len(CLASSES), "resize": {"longest_side": 128}}
    photos, rehearsal = folder / "photos", folder / "rehearsal"
    write_photos(photos, train=TRAIN, test=TEST, classes=CLASSES, size=(240, 180), processes=1)
    recipe_file = folder / "scenes.yaml"
    recipe_file.write_text(yaml.safe_dump(settings | {"train": None}))
    command = [sys.executable, "-m", "synthset.main", "run", str(recipe_file)]
    own_server = {name: value for name, value in environment.items() if name != "PREFECT_API_URL"}
    own_server["PREFECT_HOME"] = str(folder / "rehearsal-home")
    ended = run([*command, "--photos", str(photos), "--out", str(rehearsal)], own_server)
    assert ended.returncode == 0, ended.stderr
    records = records_by_item(rehearsal / "store")
    references = sorted(records)
    (blocked,) = (name for name in records[references[-1]] if name.startswith("screen/"))
    return FailingRun(
        recipe=Recipe.model_validate(settings),
        photos=photos,
        out=folder / "nightly",
        references=references,
        failing=references[-1],
        blocked_record=blocked,
    )


def list_tasks(server: Server, run: str) -> list[tuple[str, str, str]]:
    """Name, state and message of a flow run's task runs, in the order of their start."""
    runs = server.ask(
        "POST",
        "/task_runs/filter",
        flow_runs={"id": {"any_": [run]}},
        sort="EXPECTED_START_TIME_ASC",
    )
    return [(task["name"], task["state"]["name"], task["state"]["message"] or "") for task in runs]


def states(tasks: list[tuple[str, str, str]]) -> Counter[str]:
    """How many task runs ended in each state."""
    return Counter(state for _, state, _ in tasks)
