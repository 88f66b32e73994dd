"""One run on one server for all tests of the UI, and a browser."""

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import ROOT
from tests.ui.browser import Page, chromium, find_chromium
from tests.ui.failing_run import FailingRun, plan_failing_run
from tests.ui.server import Server, prefect_server

# Read before the tests' environment is cleaned.
TAKES_PICTURES = bool(os.environ.get("SYNTHSET_SCREENSHOTS"))
PICTURES = ROOT / "docs" / "images"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "canary-access-key-7c1d",
    "AWS_SECRET_ACCESS_KEY": "canary-secret-key-9f2e",
    "HF_TOKEN": "canary-token-4b8a",
}

Picture = Callable[[str], None]


@dataclass(frozen=True)
class Watched:
    """A finished run; its server and worker still run."""

    server: Server
    failing_run: FailingRun
    parent: str
    child: str

    @property
    def child_name(self) -> str:
        """The name of the child run of the failed reference."""
        return f"{self.failing_run.failing} · images"

    def address(self, run: str) -> str:
        """The page of a flow run."""
        return f"{self.server.url}/runs/flow-run/{run}"


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of the browser; tests are skipped without one."""
    found = find_chromium()
    if found is None:
        pytest.skip("needs chromium on the PATH: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def watched(browser: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run of four references on one persistent worker; one reference fails in all attempts."""
    folder = tmp_path_factory.mktemp("ui")
    with (
        ThreadPoolExecutor(1) as planner,
        prefect_server(folder, **SECRETS) as server,
    ):
        planning = planner.submit(plan_failing_run, folder, server.environment)
        server.synthset("deploy")
        failing_run = planning.result()
        failing_run.block()
        with server.worker("synthset-gpu", "persistent-process"):
            ended = failing_run.run(server)
            assert ended.returncode == 0, ended.stderr
            (parent,) = server.runs(flows={"name": {"any_": ["pipeline"]}})
            name = f"{failing_run.failing} · images"
            (child,) = server.runs(flow_runs={"name": {"any_": [name]}})
            yield Watched(server, failing_run, parent["id"], child["id"])


@pytest.fixture
def page(browser: str, tmp_path: Path) -> Iterator[Page]:
    """A browser of 1280 x 900 pixels."""
    with chromium(browser, tmp_path / "profile") as opened:
        opened.size(1280, 900)
        yield opened


@pytest.fixture
def picture(page: Page) -> Picture:
    """Save a picture of the page for the docs, in 256 colours, if SYNTHSET_SCREENSHOTS is set."""

    def keep(name: str) -> None:
        if TAKES_PICTURES:
            page.settle()
            with Image.open(io.BytesIO(page.picture())) as image:
                reduced = image.convert("RGB").quantize(256)
                reduced.save(PICTURES / f"ui-{name}.png", optimize=True)

    return keep
