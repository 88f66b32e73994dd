"""``python -m benchmarks [NAME ...]``: measure, and print figures with the machine they are of."""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from synthset.main import PREFECT_DEFAULTS

# Cheap ones first; `memory` reuses the largest run of `rerun`.
NAMES = (
    "codecs",
    "stages",
    "flops",
    "overhead",
    "wrappers",
    "batches",
    "child_runs",
    "cache_hit",
    "rerun",
    "memory",
)
# What needs a GPU, or many minutes, runs only when it is named.
NAMED = ("calibration", "diffusion_gpu", "fan_out", "fan_out_depth", "planted_leaks")
# These need a folder of photos.
ON_PHOTOS = ("planted_leaks",)
# One core, so that CPU seconds are not spent on waiting for one another.
SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main() -> None:
    """Run the named benchmarks, or all of them, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES + NAMED))
    parser.add_argument("--work", type=Path, help="Folder for runs, kept (else a temporary one).")
    parser.add_argument("--photos", type=Path, help=f"Folder of photos for {', '.join(ON_PHOTOS)}.")
    parser.add_argument("--rounds", type=int, help="Rounds per row of calibration.")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - {*NAMES, *NAMED})
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; choose from {', '.join(NAMES + NAMED)}")
    if chosen.photos is None and set(chosen.names) & set(ON_PHOTOS):
        parser.error(f"{', '.join(ON_PHOTOS)}: give a folder of photos with --photos")
    if chosen.rounds and chosen.names != ["calibration"]:
        parser.error("--rounds is for calibration alone; name it")
    options = {"photos": chosen.photos, "rounds": chosen.rounds}
    if chosen.here:
        _measure(chosen.names[0], chosen.work, options)
        return
    with tempfile.TemporaryDirectory(prefix="synthset-benchmarks-") as temporary:
        work = (chosen.work or Path(temporary)).resolve()
        (work / "prefect").mkdir(parents=True, exist_ok=True)
        for name in chosen.names or NAMES:
            command = [sys.executable, "-m", "benchmarks", "--here", "--work", str(work), name]
            command += ["--photos", str(chosen.photos.resolve())] if chosen.photos else []
            command += ["--rounds", str(chosen.rounds)] if chosen.rounds else []
            if subprocess.run(command, env=_environment(work)).returncode:
                sys.exit(f"benchmarks: {name} failed")


def _environment(work: Path) -> dict[str, str]:
    """A Prefect home of their own: neither the user's runs nor theirs get in each other's way."""
    home = {"PREFECT_HOME": str(work / "prefect")}
    return {**PREFECT_DEFAULTS, **SINGLE, **os.environ, **home}


def _measure(name: str, work: Path, options: dict[str, Path | int | None]) -> None:
    import cv2

    from benchmarks.machine import machine, require_proc

    require_proc()
    cv2.setNumThreads(1)
    benchmark = importlib.import_module(f"benchmarks.{name}")
    print(f"## {name}: {(benchmark.__doc__ or '').splitlines()[0]}\n\n{machine()}\n", flush=True)
    folder = work / ("many" if name in ("rerun", "memory") else name)
    folder.mkdir(parents=True, exist_ok=True)
    benchmark.main(folder, **{name: value for name, value in options.items() if value is not None})
    print(flush=True)


if __name__ == "__main__":
    main()
