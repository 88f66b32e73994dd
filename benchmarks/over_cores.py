"""Work of one process against the same work of several, so that each has a core of its own."""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any, NamedTuple

Make = Callable[[int], object]
_ROUNDS = 3
# A process that crashed would leave the others waiting.
_LONGEST_WAIT_S = 300.0


class Rates(NamedTuple):
    """Results per second of wall time, and per CPU second: of each the best round.

    On a machine that others use too, the second one shows whether processes slow one another down.
    """

    per_s: float
    per_cpu_s: float


def rates_over_cores(prepare: Callable[[], Make], count: int, cores: int) -> tuple[Rates, Rates]:
    """The rates of one process, and of ``cores`` processes together.

    Both take turns, so that other programs of the machine change both alike.

    Args:
        prepare: a function of a module; returns what makes the result of a number.
        count: results per process and round.
        cores: 2 or more.
    """
    teams = [_Team(size, prepare, count) for size in (1, cores)]
    rounds = [[team.measure() for team in teams] for _ in range(_ROUNDS)]
    alone, together = zip(*rounds, strict=True)
    for team in teams:
        team.join()
    return _best(alone), _best(together)


class _Team:
    """Processes that wait for one another before and after each round."""

    def __init__(self, size: int, prepare: Callable[[], Make], count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._results = size * count
        self._barrier = context.Barrier(size + 1)
        self._cpu_s: Any = context.SimpleQueue()
        arguments = (self._barrier, self._cpu_s, prepare, count)
        self._processes = [
            context.Process(target=_work, args=arguments, daemon=True) for _ in range(size)
        ]
        for process in self._processes:
            process.start()

    def measure(self) -> Rates:
        """The rates of one round of all processes."""
        self._barrier.wait(_LONGEST_WAIT_S)
        started = time.perf_counter()
        self._barrier.wait(_LONGEST_WAIT_S)
        wall_s = time.perf_counter() - started
        cpu_s = sum(self._cpu_s.get() for _ in self._processes)
        return Rates(self._results / wall_s, self._results / cpu_s)

    def join(self) -> None:
        """Wait for the end of all processes."""
        for process in self._processes:
            process.join()


def _best(rounds: tuple[Rates, ...]) -> Rates:
    return Rates(max(one.per_s for one in rounds), max(one.per_cpu_s for one in rounds))


def _work(barrier: Any, cpu_s: Any, prepare: Callable[[], Make], count: int) -> None:
    make = prepare()
    make(0)
    for _ in range(_ROUNDS):
        barrier.wait(_LONGEST_WAIT_S)
        started = time.process_time()
        for number in range(count):
            make(number)
        cpu_s.put(time.process_time() - started)
        barrier.wait(_LONGEST_WAIT_S)
