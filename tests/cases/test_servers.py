"""Proxies, home folders and signals, where a command uses or starts a server."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.tiny import RECIPE, ROOT, Cli, draw_photos

NO_TRAINING = ("--set", "train=null", "--set", "datasets=[{name: real, real: 1.0}]")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A small run without a configured server."""
    draw_photos(tmp_path / "photos")
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    where = ["--photos", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    return ["run", str(tmp_path / "tiny.yaml"), *where, *NO_TRAINING]


def test_the_server_of_this_machine_is_reached_without_the_proxies(cli: Cli) -> None:
    """Nobody listens at any of them."""
    names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY")
    proxies = dict.fromkeys(names, "http://127.0.0.1:9")
    for more in ({}, {"ALL_PROXY": "socks5://127.0.0.1:1080"}):
        ended = cli.run("retry", "no such run", **proxies, **more)
        assert "no flow run is called 'no such run'" in ended.complaint


def test_a_proxy_that_can_not_be_used_is_named(cli: Cli) -> None:
    ended = cli.run("retry", "no such run", all_proxy="socks://127.0.0.1:1080")
    assert "all_proxy: socks://127.0.0.1:1080 is no address" in ended.complaint
    assert ended.code == 2


def test_a_home_folder_that_can_not_be_made_is_named(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "file").touch()
    nowhere = tmp_path / "file" / "home"
    # An empty variable counts as absent.
    ended = Cli(tmp_path).call(*arguments, HOME=str(nowhere), PREFECT_HOME="")
    assert ended.code == 2
    assert f"Prefect's home folder {nowhere / '.prefect'} can't be written" in ended.complaint
    assert "set PREFECT_HOME (or HOME)" in ended.complaint


@pytest.mark.slow
def test_no_server_outlives_a_run_that_is_ended_while_it_starts(
    tmp_path: Path, arguments: list[str]
) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "synthset.main", *arguments],
        cwd=ROOT,
        env=Cli(tmp_path).environment({}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    servers: list[psutil.Process] = []
    try:
        while not servers and run.poll() is None:
            servers = [one for one in psutil.Process(run.pid).children() if is_server(one)]
            time.sleep(0.02)
        run.terminate()
        assert run.wait(60) == -signal.SIGTERM
        _, left = psutil.wait_procs(servers, timeout=60)
        assert [one.pid for one in left if one.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        run.kill()
        run.wait()
    assert len(servers) == 1


def is_server(process: psutil.Process) -> bool:
    try:
        return "deployments.server.child" in process.cmdline()
    except psutil.Error:
        return False
