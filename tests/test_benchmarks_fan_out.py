"""The simulated fan-out counts what it says: a small one, and the fit of its growth."""

from pathlib import Path

import pytest

from benchmarks import fan_out
from benchmarks.fan_out_sides import SAMPLES

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
FEW = 6


@pytest.mark.e2e
def test_a_small_fan_out_has_its_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    found = fan_out.measure(tmp_path, "SQLite", FEW)
    calls = {step: spent["calls"] for step, spent in found.steps.items()}
    assert {calls[step] for step in ("start children", "collect outcomes")} == {FEW}
    assert calls["place orders"] == 1
    again = {step: spent["calls"] for step, spent in found.again.items()}
    assert again["look what is done"] == FEW
    assert "start children" not in again
    assert min(found.cpu_s.values()) > 0
    assert {"parent", "server", "worker"} == set(found.cpu_s)
    assert found.wall_s > 0
    assert found.disk_mb > 0
    store = tmp_path / "store"
    assert len(list(store.glob("documents/orders/*/*.told.json"))) == FEW
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
