"""Scenes that new objects are painted into: a flow run per shard of eight, in the real UI."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from flows.config.recipe import Recipe
from tests.flows.generators.test_ddpm_repaint import RECIPE
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.ui.browser import Page
from tests.ui.conftest import Picture
from tests.ui.failing_run import DEPLOYMENT, PARENT, list_tasks
from tests.ui.server import prefect_server, run, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SCENES = 18
SHARDS = ("shard 0 · paint", "shard 1 · paint", "shard 2 · paint")
# Two scenes of the last shard.
IN_LAST = 2


def test_every_shard_of_scenes_is_a_flow_run(page: Page, tmp_path: Path, picture: Picture) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    kinds = [["disc", "block"] if number % 3 == 0 else ["disc"] for number in range(SCENES + 4)]
    drawn = draw_images(tmp_path / "drawn", kinds)
    splits = {"train": drawn[:SCENES], "val": drawn[SCENES:-2], "test": drawn[-2:]}
    write_set(photos, "coco", splits)
    recipe = Recipe.model_validate({"name": "rare", **yaml.safe_load(RECIPE)})
    paths = {"photos": str(photos), "out": str(out), "store": str(out / "store")}
    execution = {"max_parallel": 2, "generate_on": DEPLOYMENT}
    arguments = json.dumps([recipe.model_dump(mode="json"), paths, execution])
    with prefect_server(tmp_path) as server:
        server.synthset("deploy")
        with server.worker("synthset-gpu", "persistent-process"):
            ended = run([sys.executable, "-c", PARENT], server.environment, arguments)
        assert ended.returncode == 0, ended.stderr
        (parent,) = server.runs(flows={"name": {"any_": ["pipeline"]}})
        children = server.runs(flow_runs={"name": {"any_": list(SHARDS)}})
        assert sorted(child["name"] for child in children) == list(SHARDS)
        for child in children:
            assert child["state"]["type"] == "COMPLETED"
            assert "ddpm_repaint" in child["tags"]
        last = next(child for child in children if child["name"] == SHARDS[-1])
        messages = {name: message for name, _, message in list_tasks(server, last["id"])}
        (painted,) = [
            message for name, message in messages.items() if name.startswith("repaint · ")
        ]
        assert painted.startswith(f"{IN_LAST} computed")

        page.open(f"{server.url}/runs/flow-run/{parent['id']}")
        until(lambda: "Task runs" in page.text, 60)
        page.click("Subflow Runs")
        for name in ("block · fit", *SHARDS):
            page.wait_for(name)
        picture("shards")
        page.click(SHARDS[-1], within="a")
        page.wait_for("Parent Run")
        page.click("Task Runs")
        page.wait_for("repaint · ")
