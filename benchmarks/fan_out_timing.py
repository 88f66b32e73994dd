"""Measures the steps of the product's fan-out by wrapping its functions."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import flows.execution.run_items
import flows.items
from benchmarks.machine import tree_cpu_s
from flows.execution.deployment import ChildRunPool

TENTHS = 10
# The step that contains the others of a fan-out.
FAN_OUT = "fan-out, total"
# Replaces a function by one that also measures.
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass
class StepCost:
    """The calls of a step, and their wall and CPU seconds."""

    calls: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass
class Tenth:
    """One tenth of the child runs: wall seconds, and CPU seconds per process."""

    wall_s: float
    cpu_s: dict[str, float]


@dataclass
class ParentCosts:
    """The costs of a parent run: steps of both fan-outs, tenths of the first, peak MiB."""

    steps: dict[str, StepCost] = field(default_factory=lambda: defaultdict(StepCost))
    again: dict[str, StepCost] = field(default_factory=lambda: defaultdict(StepCost))
    tenths: list[Tenth] = field(default_factory=list)
    peak_mb: dict[str, float] = field(default_factory=dict)


@contextmanager
def timed(steps: dict[str, StepCost], step: str) -> Iterator[None]:
    """Add the time inside the context to the cost of a step."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        cost = steps[step]
        cost.calls += 1
        cost.wall_s += time.perf_counter() - wall
        cost.cpu_s += time.process_time() - cpu


@contextmanager
def timed_steps(steps: dict[str, StepCost]) -> Iterator[None]:
    """Time the steps of the product's fan-out."""
    with ExitStack() as stack:
        for owner, name, step in (
            (flows.items, "item_key", "keys"),
            (flows.execution.run_items, "save_items", "write work items"),
            (ChildRunPool, "start", "start children"),
            (ChildRunPool, "_read_runs", "poll"),
            (ChildRunPool, "_result", "collect results"),
            (flows.execution.run_items, "load_result", "read results"),
        ):
            stack.enter_context(_replaced(owner, name, _time_call(steps, step)))
        each = _time_each(steps, "check what is done")
        stack.enter_context(_replaced(flows.execution.run_items, "load_records", each))
        yield


def _time_call(steps: dict[str, StepCost], step: str) -> Wrap:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            with timed(steps, step):
                return original(*arguments, **options)

        return wrapper

    return wrap


def _time_each(steps: dict[str, StepCost], step: str) -> Wrap:
    """Time each item of an iterator, which has as many items as the last argument."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any) -> Iterator[Any]:
            items = original(*arguments)
            for _ in arguments[-1]:
                with timed(steps, step):
                    item = next(items)
                yield item

        return wrapper

    return wrap


@contextmanager
def _replaced(owner: Any, name: str, wrap: Wrap) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def after_each_result(record: Callable[[], None]) -> Iterator[None]:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            result = original(*arguments, **options)
            record()
            return result

        return wrapper

    with _replaced(ChildRunPool, "_result", wrap):
        yield


def make_tenth_recorder(
    references: int, process_ids: dict[str, int], costs: ParentCosts
) -> Callable[[], None]:
    """Return the function to call after each result; it adds the tenths to ``costs``."""
    ends = [references * tenth // TENTHS for tenth in range(1, TENTHS + 1)]
    done = 0

    def read_clocks() -> tuple[float, dict[str, float]]:
        cpu_s = {name: tree_cpu_s(pid) for name, pid in process_ids.items()}
        return time.monotonic(), {**cpu_s, "parent": time.process_time()}

    last = read_clocks()

    def record() -> None:
        nonlocal done, last
        done += 1
        if done in ends:
            wall, cpu_s = read_clocks()
            difference = {name: cpu_s[name] - last[1][name] for name in cpu_s}
            costs.tenths.append(Tenth(wall - last[0], difference))
            last = wall, cpu_s

    return record
