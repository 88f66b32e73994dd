"""Starts the program that uses ultralytics, and reads what it reports.

synthset's own process never imports ultralytics, which is under AGPL-3.0. The interpreter is that
of ``SYNTHSET_YOLO_PYTHON``, or else synthset's own. It gets an environment in which ultralytics
downloads, installs and reports nothing; `yolo_program` also refuses every connection.

A job is a JSON object: ``folder`` (where the program works), ``options`` (of ultralytics), for
``train`` also ``metadata`` (kept in the checkpoint), for ``predict`` also ``checkpoint`` and
``images``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from models.data.files import write_atomic
from models.data.settings import settings

PROGRAM = Path(__file__).with_name("yolo_program.py")
JOB, LOG = "job.json", "ultralytics.log"
# What ultralytics reads when it is imported.
SWITCHES = {
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "ULTRALYTICS_SAFE_LOAD": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}
_FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ultralytics') is None)"


def interpreter() -> Path:
    """The Python that has ultralytics.

    Raises:
        ValueError: it does not exist, or has no ultralytics.
    """
    python = settings().yolo_python or Path(sys.executable)
    try:
        ended = subprocess.run([python, "-I", "-c", _FIND], stdin=subprocess.DEVNULL, check=False)
    except OSError:
        raise ValueError(f"SYNTHSET_YOLO_PYTHON={python}: no such program; correct it") from None
    if ended.returncode:
        raise ValueError(
            f"network: {python} has no ultralytics (AGPL-3.0); install it in an environment of "
            "its own, and set SYNTHSET_YOLO_PYTHON to its python (docs/published-detectors.md)"
        )
    return python


def run_yolo(
    command: Literal["train", "predict"], job: Mapping[str, Any], threads: int | None = None
) -> Iterator[dict[str, Any]]:
    """What the program reports, object by object, while it runs.

    The program is stopped if the caller stops reading, and ends by itself if this process dies.

    Args:
        threads: CPU threads of torch; None: torch's choice.

    Raises:
        ValueError: there is no ultralytics, or the program failed; the line names its log.
    """
    folder = Path(str(job["folder"]))
    file, log = folder / JOB, folder / LOG
    write_atomic(file, json.dumps(job).encode())
    arguments = [str(interpreter()), "-I", str(PROGRAM), command, str(file)]
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=_environment(folder, threads),
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
            failed = process.wait() != 0
        finally:
            process.kill()
    if failed:
        raise ValueError(
            f"ultralytics could not {command} ({_last_line(log)}); correct what it names: all it "
            f"wrote is in {log}"
        )


def _environment(folder: Path, threads: int | None) -> dict[str, str]:
    """The environment without synthset's paths for modules, and with ultralytics kept in."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    # ultralytics would otherwise use one thread.
    count = str(threads or os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads())
    return {**own, **SWITCHES, "YOLO_CONFIG_DIR": str(folder / "config"), "OMP_NUM_THREADS": count}


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    written = [" ".join(line.split()) for line in lines if line.strip()]
    return written[-1][:120] if written else "it wrote nothing"
