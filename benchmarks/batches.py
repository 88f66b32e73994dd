"""What a stage costs that computes nothing: Prefect per task run, the store per artifact.

A stage whose products are a few bytes, outside a flow (store and stage mechanism alone) and as task
runs of a flow, with new artifacts and with ones that are all done. CPU time is that of this process
and of the embedded server. The line through one batch and many gives what a task run costs by
itself, and what an artifact adds.
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
# After the last task run the embedded server still writes down what it was told.
SETTLE_S = 3.0


class Nothing(Record):
    """The stage's only setting makes its keys new."""

    turn: int


@stage("nothing", version=1, media="json", batch_size=BATCH)
def nothing(inputs: Sequence[StageInput], parameters: Nothing) -> Iterator[StageOutput]:
    """A document that says nothing, per input."""
    for _ in inputs:
        yield StageOutput({})


@dataclass(frozen=True)
class Cost:
    """Of a stage call: milliseconds of the clock, and of all processors."""

    wall_ms: float
    cpu_ms: float


def measure(folder: Path, runs: int) -> dict[tuple[str, str, int], Cost]:
    """The cost of a stage call by place (``flow`` or ``alone``), state (``new`` or ``done``) and
    number of batches.
    """
    store = open_store(folder / "store")
    costs: dict[tuple[str, str, int], Cost] = {}

    def take(place: str, batches: int) -> None:
        inputs = [artifact_of("input", f"input/{at}", "png") for at in range(batches * BATCH)]
        inputs = [one.model_copy(update={"digest": one.key}) for one in inputs]
        # Each place has keys of its own, so that what is new is new in both.
        turns = [100_000 * (place == "flow") + at for at in range(runs)]
        for state in ("new", "done"):

            def calls() -> None:
                for turn in turns:
                    nothing(RunContext(store, "benchmark"), Nothing(turn=turn), inputs)

            costs[place, state, batches] = _spent(calls, runs, place)

    @flow(name="batches")
    def inside() -> None:
        for batches in BATCHES:
            take("flow", batches)

    inside()
    for batches in BATCHES:
        take("alone", batches)
    return costs


def main(folder: Path) -> None:
    """Print what a task run and an artifact cost, computed and done before."""
    costs = measure(folder, RUNS)
    few, many = BATCHES
    artifacts = (many - few) * BATCH
    rows: list[list[object]] = []
    for state, what in (("new", "computed"), ("done", "all done before")):
        of = {(place, at): costs[place, state, at] for place in ("flow", "alone") for at in BATCHES}
        for unit in ("wall_ms", "cpu_ms"):
            by = {at: getattr(cost, unit) for at, cost in of.items()}
            each = (by["alone", many] - by["alone", few]) / artifacts
            prefect = by["flow", few] - by["alone", few]
            rows.append(
                [
                    f"{what}, {'wall' if unit == 'wall_ms' else 'CPU'}",
                    by["flow", few],
                    by["flow", many],
                    prefect,
                    each,
                ]
            )
    head = [
        "a no-op stage, ms",
        f"a call with {few * BATCH} artifacts",
        f"with {many * BATCH}",
        "Prefect, a call",
        "store, an artifact",
    ]
    print(table(head, rows))


def _spent(calls: Callable[[], None], runs: int, place: str) -> Cost:
    settle = SETTLE_S if place == "flow" else 0.0
    time.sleep(settle)
    cpu = tree_cpu_s()
    time.sleep(settle)
    # What the server does all the time is not the stage's.
    idle = (tree_cpu_s() - cpu) / settle if settle else 0.0
    cpu, started = tree_cpu_s(), time.perf_counter()
    calls()
    wall = time.perf_counter() - started
    time.sleep(settle)
    cpu = tree_cpu_s() - cpu - idle * (wall + settle)
    return Cost(1000 * wall / runs, 1000 * cpu / runs)
