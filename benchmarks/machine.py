"""Describes the machine, measures CPU time and memory, and formats tables.

Benchmarks compare CPU time, because other programs change wall time. CPU time is that of this
process and all its descendants, because Prefect's embedded server is a process of its own.
"""

import importlib.metadata
import os
import platform
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

PROC = Path("/proc")
PACKAGES = ("prefect", "numpy", "opencv-python-headless", "pillow", "torch", "torchvision")


def machine() -> str:
    """Return one line: processor, cores, memory, and versions of Python and packages."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {versions}"
    )


def require_proc() -> None:
    """Exit if CPU time and memory of processes can't be read.

    Raises:
        SystemExit: the system has no /proc.
    """
    if not (PROC / "self" / "stat").is_file():
        sys.exit("benchmarks: need /proc to count CPU time and memory; run them on Linux")


def tree_cpu_s(root: int | None = None) -> float:
    """Return the CPU seconds of a process and its descendants, including finished children.

    ``root`` is a process id; None: this process.
    """
    ticks = sum(sum(_stat(pid)[13:17]) for pid in descendants(root or os.getpid()))
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(root: int) -> list[int]:
    """Return the ids of a process and of all its descendants."""
    parents = {pid: _stat(pid)[3] for pid in _processes()}
    family, frontier = [], [root]
    while frontier:
        family += frontier
        frontier = [pid for pid, parent in parents.items() if parent in frontier]
    return family


class PeakMemory(threading.Thread):
    """Measures a process and its descendants inside the context; ``peaks`` are MiB by process."""

    def __init__(self, root: int, every_s: float = 0.2) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.peaks: dict[int, float] = {}
        self._every_s = every_s
        self._ended = threading.Event()

    def __enter__(self) -> "PeakMemory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Read the kernel's high-water marks repeatedly until the context ends."""
        while not self._ended.wait(self._every_s):
            for pid in descendants(self.root):
                mark = high_water_mb(pid)
                if mark is not None:
                    self.peaks[pid] = mark


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table with aligned columns: names to the left, figures to the right."""
    cells = [list(map(str, head)), *([_format(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    aligned = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(aligned)} |"


def _format(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _processor() -> str:
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _processes() -> Iterator[int]:
    return (int(path.name) for path in PROC.iterdir() if path.name.isdigit())


def _stat(pid: int) -> list[int]:
    """Return the numbers of ``/proc/<pid>/stat`` by position; name and state are 0."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return [0] * 20
    return [pid, 0, 0, *map(int, text.rpartition(")")[2].split()[1:20])]


def high_water_mb(pid: int) -> float | None:
    """Return the peak memory of a process so far, MiB; None if it has ended."""
    try:
        status = (PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    marks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(marks[0]) / 1024 if marks else None
