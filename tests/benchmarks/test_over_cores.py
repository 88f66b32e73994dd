"""Processes do the same work at the same time."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.over_cores import rates_over_cores

FOLDER = "SYNTHSET_TEST_FOLDER"


def prepare() -> Callable[[int], object]:
    """Each result is a file, whose name has the process and the number."""

    def make(number: int) -> None:
        with Path(os.environ[FOLDER], f"{os.getpid()}-{number}").open("a") as file:
            file.write("x")

    return make


def test_one_process_and_two_make_all_results_in_each_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    alone, together = rates_over_cores(prepare, 300, 2)
    assert min(*alone, *together) > 0
    made = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert len({name.partition("-")[0] for name in made}) == 3
    # The first result of a process is made once more, before any round.
    assert sorted(made.values()) == [3] * 897 + [4] * 3
