"""What all tests share: a clean environment, and one Prefect server for those that run flows."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server import run_server
from tests.tiny import RECIPE, Cli, Run, Undisturbed, draw_photos, files_of, manifest_of

os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "180"

FOREIGN = ("AWS_", "HF_", "WANDB_", "MLFLOW_", "SYNTHSET_")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no process waits for another's last long file."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credential, mirror or switch of whoever runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name == "CUDA_VISIBLE_DEVICES":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SYNTHSET_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary Prefect server and database for the whole session."""
    with run_server():
        yield


@pytest.fixture
def shared_photos() -> Path:
    """The real photos next to the checkout; the test is skipped where there are none."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data: real photos for development")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever was asked for outside this machine: nothing gets through, and the test can look."""
    asked: list[str] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(own: socket.socket, address: Any) -> Any:
        if own.family != socket.AF_UNIX and str(address[0]) not in LOOPBACK:
            asked.append(str(address))
            raise ConnectionRefusedError(f"a test asked for {address}")
        return connect(own, address)

    def guarded_resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host is not None and str(host) not in LOOPBACK:
            asked.append(str(host))
            raise socket.gaierror(f"a test asked for {host}")
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)
    return asked


@pytest.fixture(scope="session")
def cli(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The command line with the Prefect server of the session: starting one takes seconds."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        command_line = Cli(tmp_path_factory.mktemp("cli"), str(client.api_url))
    command_line.prepare()
    return command_line


@pytest.fixture(scope="session")
def undisturbed(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    draw_photos(folder / "photos")
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE)
    run = Run(recipe, folder / "photos", folder / "out")
    summary = cli.run(*run.arguments).found
    datasets, rows = files_of(run.out / "datasets"), manifest_of(run.out)
    return Undisturbed(run.recipe, run.photos, run.out, summary, datasets, rows)
