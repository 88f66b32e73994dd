"""The simulated fan-out counts what it says: a small one, and the fit of its growth."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import fan_out, fan_out_depth
from benchmarks.fan_out_rows import TABLES, Row, Rows, read_rows, write_copy
from benchmarks.fan_out_sides import SAMPLES

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
FEW = 6


@pytest.mark.e2e
def test_a_small_fan_out_has_its_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    found = fan_out.measure(tmp_path, "SQLite", FEW)
    calls = {step: spent["calls"] for step, spent in found.steps.items()}
    assert {calls[step] for step in ("start children", "collect outcomes", "read results")} == {FEW}
    assert calls["place orders"] == 1
    again = {step: spent["calls"] for step, spent in found.again.items()}
    assert again["look what is done"] == FEW
    assert "start children" not in again
    assert min(found.cpu_s.values()) > 0
    assert {"parent", "server", "worker"} == set(found.cpu_s)
    assert found.wall_s > 0
    assert found.disk_mb > 0
    store = tmp_path / "store"
    assert len(list(store.glob("documents/items/*/*.result.json"))) == FEW
    assert len(list(store.glob("resize/*/*.record"))) == FEW * SAMPLES
    assert "| server, CPU ms" in fan_out.told("SQLite", [found, found_of(2 * FEW, found)])


def found_of(references: int, run: fan_out.Run) -> fan_out.Run:
    """A run of more references that took the square of the time in one of its steps."""
    times = references / run.references
    steps = {name: dict(spent) for name, spent in run.steps.items()}
    steps["choose"]["cpu_s"] *= times**2
    return fan_out.Run(
        references, run.cpu_s, run.peak_mb, steps, run.again, run.tenths, run.disk_mb
    )


def test_the_growth_is_the_exponent_of_a_power() -> None:
    sizes = [300, 1_000, 10_000]
    assert fan_out.exponent(sizes, [3e-5 * size**2 for size in sizes]) == pytest.approx(2)
    assert fan_out.exponent(sizes, [7.0 * size for size in sizes]) == pytest.approx(1)


def test_a_step_that_grows_faster_is_named() -> None:
    def run(references: int, choose_s: float) -> fan_out.Run:
        step = {"calls": 1.0, "wall_s": choose_s, "cpu_s": choose_s}
        cpu_s = {"parent": 0.01 * references}
        return fan_out.Run(references, cpu_s, {}, {"choose": step}, {}, [], 1.0)

    assert fan_out.worse_than_linear([run(1_000, 0.1), run(10_000, 10.0)]) == {
        "choose (steps)": pytest.approx(2)
    }
    assert fan_out.worse_than_linear([run(1_000, 0.1), run(10_000, 1.0)]) == {}


@pytest.mark.e2e
def test_children_are_measured_at_two_depths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    lots = fan_out_depth.measure(tmp_path, "SQLite", (6, 18), 6)
    assert [one.run.steps["start children"]["calls"] for one in lots] == [6, 6]
    assert lots[1].run.steps["keys"]["calls"] == 18
    # Twelve were run, and six copied.
    assert len(list((tmp_path / "store").glob("documents/items/*/*.result.json"))) == 18
    assert "| server, CPU ms a child" in fan_out_depth.told("SQLite", lots)


class Kept:
    """A database in memory: per table its columns and its rows."""

    def __init__(self, tables: dict[str, tuple[list[str], list[Row]]]) -> None:
        self.tables = tables

    def columns(self, table: str) -> list[str]:
        return self.tables[table][0]

    def rows(self, table: str) -> list[Row]:
        return list(self.tables[table][1])

    def add(self, table: str, rows: Iterator[Row]) -> None:
        self.tables[table][1].extend(rows)


PARENT, CHILD, STATE, OF_PARENT, FLOW = (str(uuid.UUID(int=at)) for at in range(1, 6))
ORDER = "ab" * 32


def database() -> Kept:
    """A parent run and its child, and the states of both; nothing in the other tables."""
    tables: dict[str, tuple[list[str], list[Row]]] = {
        table: (["id", "flow_run_id", "task_run_id"], []) for table in TABLES
    }
    columns = ["id", "deployment_id", "parent_task_run_id", "flow_id", "state_id", "key"]
    parent = (PARENT, None, None, FLOW, OF_PARENT, "")
    child = (CHILD, "deployed", None, FLOW, STATE, f"{PARENT}:{ORDER}")
    tables["flow_run"] = (columns, [parent, child])
    states: list[Row] = [(OF_PARENT, PARENT, "{}"), (STATE, CHILD, f'{{"run": "{CHILD}"}}')]
    tables["flow_run_state"] = (["id", "flow_run_id", "details"], states)
    return Kept(tables)


def test_a_copy_of_the_rows_has_ids_of_its_own_that_fit_together() -> None:
    kept = database()
    rows: Rows = read_rows(kept)
    write_copy(kept, rows, 7)
    write_copy(kept, rows, 8)
    runs, states = kept.rows("flow_run"), kept.rows("flow_run_state")
    assert [len(runs), len(states)] == [4, 4], "the parent has no copy"
    assert len({row[0] for row in runs}) == len({row[5] for row in runs}) == 4
    for run, state in zip(runs[2:], states[2:], strict=True):
        assert (run[4], run[0]) == (state[0], state[1])
        assert state[2] == f'{{"run": "{run[0]}"}}'
        assert run[3] == FLOW, "what is not the child's keeps its name"
        assert str(run[5]).startswith(f"{PARENT}:")
