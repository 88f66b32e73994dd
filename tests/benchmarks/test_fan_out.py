"""The simulated fan-out measures all its steps, and the growth is computed correctly."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import fan_out, fan_out_depth
from benchmarks.fan_out_rows import TABLES, Row, Rows, read_rows, write_copy
from benchmarks.fan_out_samples import SAMPLES

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
FEW = 6


@pytest.mark.e2e
def test_a_small_fan_out_measures_every_step_and_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    run = fan_out.measure(tmp_path, "SQLite", FEW)
    calls = {step: cost["calls"] for step, cost in run.steps.items()}
    assert {calls[step] for step in ("start children", "collect results", "read results")} == {FEW}
    assert calls["write work items"] == 1
    again = {step: cost["calls"] for step, cost in run.again.items()}
    assert again["check what is done"] == FEW
    assert "start children" not in again
    assert min(run.cpu_s.values()) > 0
    assert {"parent", "server", "worker"} == set(run.cpu_s)
    assert run.wall_s > 0
    assert run.disk_mb > 0
    store = tmp_path / "store"
    assert len(list(store.glob("documents/items/*/*.result.json"))) == FEW
    assert len(list(store.glob("resize/*/*.record"))) == FEW * SAMPLES
    assert "| server, CPU ms" in fan_out.as_tables("SQLite", [run, extrapolate(2 * FEW, run)])


def extrapolate(references: int, run: fan_out.Run) -> fan_out.Run:
    """Return a run of more references, in which the time of one step grows with their square."""
    times = references / run.references
    steps = {name: dict(cost) for name, cost in run.steps.items()}
    steps["choose"]["cpu_s"] *= times**2
    return fan_out.Run(
        references, run.cpu_s, run.peak_mb, steps, run.again, run.tenths, run.disk_mb
    )


def test_exponent_is_that_of_the_fitted_power() -> None:
    sizes = [300, 1_000, 10_000]
    assert fan_out.exponent(sizes, [3e-5 * size**2 for size in sizes]) == pytest.approx(2)
    assert fan_out.exponent(sizes, [7.0 * size for size in sizes]) == pytest.approx(1)


def test_worse_than_linear_names_a_step_that_grows_too_fast() -> None:
    def run(references: int, choose_s: float) -> fan_out.Run:
        step = {"calls": 1.0, "wall_s": choose_s, "cpu_s": choose_s}
        cpu_s = {"parent": 0.01 * references}
        return fan_out.Run(references, cpu_s, {}, {"choose": step}, {}, [], 1.0)

    assert fan_out.worse_than_linear([run(1_000, 0.1), run(10_000, 10.0)]) == {
        "choose (steps)": pytest.approx(2)
    }
    assert fan_out.worse_than_linear([run(1_000, 0.1), run(10_000, 1.0)]) == {}


@pytest.mark.e2e
def test_child_runs_are_measured_at_two_depths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    groups = fan_out_depth.measure(tmp_path, "SQLite", (6, 18), 6)
    assert [group.run.steps["start children"]["calls"] for group in groups] == [6, 6]
    assert groups[1].run.steps["keys"]["calls"] == 18
    # Twelve child runs are real, and six are copies.
    assert len(list((tmp_path / "store").glob("documents/items/*/*.result.json"))) == 18
    assert "| server, CPU ms a child" in fan_out_depth.as_tables("SQLite", groups)


class InMemoryDatabase:
    """Columns and rows per table, in memory."""

    def __init__(self, tables: dict[str, tuple[list[str], list[Row]]]) -> None:
        self.tables = tables

    def columns(self, table: str) -> list[str]:
        return self.tables[table][0]

    def rows(self, table: str) -> list[Row]:
        return list(self.tables[table][1])

    def add(self, table: str, rows: Iterator[Row]) -> None:
        self.tables[table][1].extend(rows)


PARENT, CHILD, CHILD_STATE, PARENT_STATE, FLOW = (str(uuid.UUID(int=n)) for n in range(1, 6))
KEY = "ab" * 32


def make_database() -> InMemoryDatabase:
    """Return a database with a parent run, its child run and their states."""
    tables: dict[str, tuple[list[str], list[Row]]] = {
        table: (["id", "flow_run_id", "task_run_id"], []) for table in TABLES
    }
    columns = ["id", "deployment_id", "parent_task_run_id", "flow_id", "state_id", "key"]
    parent = (PARENT, None, None, FLOW, PARENT_STATE, "")
    child = (CHILD, "deployed", None, FLOW, CHILD_STATE, f"{PARENT}:{KEY}")
    tables["flow_run"] = (columns, [parent, child])
    states: list[Row] = [
        (PARENT_STATE, PARENT, "{}"),
        (CHILD_STATE, CHILD, f'{{"run": "{CHILD}"}}'),
    ]
    tables["flow_run_state"] = (["id", "flow_run_id", "details"], states)
    return InMemoryDatabase(tables)


def test_copies_of_rows_have_new_and_consistent_ids() -> None:
    database = make_database()
    rows: Rows = read_rows(database)
    write_copy(database, rows, 7)
    write_copy(database, rows, 8)
    runs, states = database.rows("flow_run"), database.rows("flow_run_state")
    assert [len(runs), len(states)] == [4, 4], "the parent has no copy"
    assert len({row[0] for row in runs}) == len({row[5] for row in runs}) == 4
    for run, state in zip(runs[2:], states[2:], strict=True):
        assert (run[4], run[0]) == (state[0], state[1])
        assert state[2] == f'{{"run": "{run[0]}"}}'
        assert run[3] == FLOW, "ids that are not the child run's stay"
        assert str(run[5]).startswith(f"{PARENT}:")
