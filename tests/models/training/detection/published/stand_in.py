"""A program in place of a Python with ultralytics: it reads jobs, and reports as ours does.

It is called as ``-I -c TEST`` (is ultralytics here?) and as ``-I PROGRAM train|predict JOB``. The
class names of a job say how it fails.
"""

import json
import os
import shutil
import sys
from pathlib import Path

FIGURES = {"val_loss": 1.0, "learning_rate": 0.001, "parameters": 7, "seconds": 0.5}


def main() -> None:
    """Do what the arguments say."""
    if sys.argv[2] == "-c":
        sys.exit(0)
    command, file = sys.argv[3:]
    job = json.loads(Path(file).read_text())
    folder = Path(job["folder"])
    (folder / "environment.json").write_text(json.dumps(dict(os.environ)))
    (folder / f"{command}.json").write_text(json.dumps(job))
    if command == "predict":
        for _ in job["images"]:
            report({"size": [96, 72], "objects": [[1, 0.75, 4.0, 8.0, 40.0, 48.0]]})
    else:
        train(job, folder)


def train(job: dict, folder: Path) -> None:  # type: ignore[type-arg]
    """Report the epochs, as continued ones where the folder has a state."""
    first = int((folder / "state").read_text()) if (folder / "state").exists() else 0
    for epoch in range(job["options"]["epochs"]):
        if "fail" in job["metadata"]["classes"]:
            sys.stderr.write("Traceback\nRuntimeError: out of memory\n")
            sys.exit(3)
        loss = float("nan") if "diverge" in job["metadata"]["classes"] else 2.0 - epoch
        score = 0.5 if epoch == 0 else 0.25
        (folder / "state").write_text(str(epoch + 1))
        report(
            {
                **FIGURES,
                **{"epoch": epoch, "train_loss": loss, "val_map_50": score},
                **{"val_map_50_95": 0.1, "is_resumed": epoch < first},
            }
        )
    shutil.copytree(Path(job["options"]["data"]).parent, folder / "seen", symlinks=True)
    shutil.copyfile(os.environ["STAND_IN_CHECKPOINT"], folder / "best.ckpt")


def report(content: object) -> None:
    """Write a line."""
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main()
