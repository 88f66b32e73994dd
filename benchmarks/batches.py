"""Measures the cost of a stage that computes nothing: Prefect per task run, store per artifact.

The stage runs outside a flow, which costs only the store, and as task runs of a flow. Its artifacts
are new or done. CPU time is that of this process and of the embedded server. The line through one
batch and eight gives the cost of a task run and of an artifact.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import flow

from benchmarks.artifacts import artifact_of
from benchmarks.machine import table, tree_cpu_s
from models.data.records import Record
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.store.store import open_store

BATCH = 16
BATCHES = (1, 8)
RUNS = 30
# After the last task run the embedded server still writes to its database.
SETTLE_S = 3.0


class Nothing(Record):
    """Settings of the stage; each ``turn`` gives new keys."""

    turn: int


@stage("nothing", version=1, media="json", batch_size=BATCH)
def nothing(inputs: Sequence[StageInput], parameters: Nothing) -> Iterator[StageOutput]:
    """Make an empty document per input."""
    for _ in inputs:
        yield StageOutput({})


@dataclass(frozen=True)
class Cost:
    """Wall and CPU milliseconds of a stage call."""

    wall_ms: float
    cpu_ms: float


def measure(folder: Path, runs: int) -> dict[tuple[str, str, int], Cost]:
    """Measure a stage call by place, state and number of batches.

    Places are ``flow`` and ``alone``; states are ``new`` and ``done``.
    """
    store = open_store(folder / "store")
    costs: dict[tuple[str, str, int], Cost] = {}

    def measure_place(place: str, batches: int) -> None:
        inputs = [artifact_of("input", f"input/{n}", "png") for n in range(batches * BATCH)]
        inputs = [artifact.model_copy(update={"digest": artifact.key}) for artifact in inputs]
        # The places have different keys, so that new artifacts are new in both.
        turns = [100_000 * (place == "flow") + number for number in range(runs)]
        for state in ("new", "done"):

            def calls() -> None:
                for turn in turns:
                    nothing(RunContext(store, "benchmark"), Nothing(turn=turn), inputs)

            costs[place, state, batches] = _measure_calls(calls, runs, place)

    @flow(name="batches")
    def measure_in_flow() -> None:
        for batches in BATCHES:
            measure_place("flow", batches)

    measure_in_flow()
    for batches in BATCHES:
        measure_place("alone", batches)
    return costs


def main(folder: Path) -> None:
    """Print the costs of a task run and an artifact, computed and done before."""
    costs = measure(folder, RUNS)
    few, many = BATCHES
    artifacts = (many - few) * BATCH
    rows: list[list[object]] = []
    for state, name in (("new", "computed"), ("done", "all done before")):
        for attribute, unit in (("wall_ms", "wall"), ("cpu_ms", "CPU")):
            ms = {
                (place, batches): getattr(costs[place, state, batches], attribute)
                for place in ("flow", "alone")
                for batches in BATCHES
            }
            per_artifact = (ms["alone", many] - ms["alone", few]) / artifacts
            prefect = ms["flow", few] - ms["alone", few]
            figures = [ms["flow", few], ms["flow", many], prefect, per_artifact]
            rows.append([f"{name}, {unit}", *figures])
    head = [
        "a no-op stage, ms",
        f"a call with {few * BATCH} artifacts",
        f"with {many * BATCH}",
        "Prefect, a call",
        "store, an artifact",
    ]
    print(table(head, rows))


def _measure_calls(calls: Callable[[], None], runs: int, place: str) -> Cost:
    settle = SETTLE_S if place == "flow" else 0.0
    time.sleep(settle)
    cpu = tree_cpu_s()
    time.sleep(settle)
    # The server's constant load is not part of the stage's cost.
    idle = (tree_cpu_s() - cpu) / settle if settle else 0.0
    cpu, started = tree_cpu_s(), time.perf_counter()
    calls()
    wall = time.perf_counter() - started
    time.sleep(settle)
    cpu = tree_cpu_s() - cpu - idle * (wall + settle)
    return Cost(1000 * wall / runs, 1000 * cpu / runs)
