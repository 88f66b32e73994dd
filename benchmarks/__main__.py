"""``python -m benchmarks [NAME ...]``: measures, and prints figures and a line on the machine."""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from synthset.main import PREFECT_DEFAULTS

# The cheap benchmarks come first; `memory` reuses the largest run of `rerun`.
NAMES = (
    "codecs",
    "stages",
    "copy_paste",
    "flops",
    "overhead",
    "wrappers",
    "batches",
    "child_runs",
    "cache_hit",
    "rerun",
    "memory",
)
# These need a GPU or many minutes, and run only by name.
BY_NAME = (
    "calibration",
    "diffusion_gpu",
    "pixel_diffusion",
    "fan_out",
    "fan_out_depth",
    "planted_leaks",
)
# These need a folder of photos.
WITH_PHOTOS = ("planted_leaks",)
# One core, so that threads spend no CPU seconds on waiting for one another.
SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main() -> None:
    """Run the named benchmarks, or all cheap ones, each in its own process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES + BY_NAME))
    parser.add_argument(
        "--work", type=Path, help="Folder for runs, which is kept (default: a temporary folder)."
    )
    parser.add_argument(
        "--photos", type=Path, help=f"Folder of photos for {', '.join(WITH_PHOTOS)}."
    )
    parser.add_argument("--rounds", type=int, help="Rounds per row of calibration.")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = sorted(set(options.names) - {*NAMES, *BY_NAME})
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; choose from {', '.join(NAMES + BY_NAME)}")
    if options.photos is None and set(options.names) & set(WITH_PHOTOS):
        parser.error(f"{', '.join(WITH_PHOTOS)}: give a folder of photos with --photos")
    if options.rounds and options.names != ["calibration"]:
        parser.error("--rounds is an option of calibration; name only calibration")
    if options.here:
        arguments = {"photos": options.photos, "rounds": options.rounds}
        _measure(options.names[0], options.work, arguments)
        return
    with tempfile.TemporaryDirectory(prefix="synthset-benchmarks-") as temporary:
        work = (options.work or Path(temporary)).resolve()
        (work / "prefect").mkdir(parents=True, exist_ok=True)
        for name in options.names or NAMES:
            command = [sys.executable, "-m", "benchmarks", "--here", "--work", str(work), name]
            command += ["--photos", str(options.photos.resolve())] if options.photos else []
            command += ["--rounds", str(options.rounds)] if options.rounds else []
            if subprocess.run(command, env=_environment(work)).returncode:
                sys.exit(f"benchmarks: {name} failed")


def _environment(work: Path) -> dict[str, str]:
    """Return an environment with a new Prefect home, so that the user's runs are not touched."""
    home = {"PREFECT_HOME": str(work / "prefect")}
    return {**PREFECT_DEFAULTS, **SINGLE_THREAD, **os.environ, **home}


def _measure(name: str, work: Path, arguments: dict[str, Path | int | None]) -> None:
    import cv2

    from benchmarks.machine import machine, require_proc

    require_proc()
    cv2.setNumThreads(1)
    benchmark = importlib.import_module(f"benchmarks.{name}")
    print(f"## {name}: {(benchmark.__doc__ or '').splitlines()[0]}\n\n{machine()}\n", flush=True)
    folder = work / ("many" if name in ("rerun", "memory") else name)
    folder.mkdir(parents=True, exist_ok=True)
    benchmark.main(folder, **{key: value for key, value in arguments.items() if value is not None})
    print(flush=True)


if __name__ == "__main__":
    main()
