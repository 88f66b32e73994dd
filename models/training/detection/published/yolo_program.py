"""Trains and runs a YOLO detector of ultralytics, as a program in a process of its own.

ultralytics is under AGPL-3.0. synthset starts this file with an interpreter that has it, and never
imports it. So nothing of synthset is imported here, and nothing but Python's library above.

    python -I yolo_program.py train|predict JOB.json

Standard output has one JSON object per line: the figures of an epoch, or what was found in an
image. All other text goes to standard error. The program ends when its standard input ends, so that
it does not outlive the process that started it. `yolo_process` says what a job holds.
"""

import json
import math
import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

HISTORY = "history.json"
BEST = "best.ckpt"
# Integrations of ultralytics that would send something, and its statistics of use.
SENDERS = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


def main() -> None:
    """Run the job that the command line names."""
    command, file = sys.argv[1:]
    # ultralytics prints to standard output, also from code in C: keep that apart.
    report = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.addaudithook(_refuse_network)
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    os.chdir(job["folder"])

    from ultralytics import settings

    settings.update(dict.fromkeys(SENDERS, False))
    {"train": _train, "predict": _predict}[command](job, report)


def _end_with_parent() -> None:
    while os.read(0, 1024):
        continue
    os._exit(1)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse every look-up and connection but those of this machine's processes."""
    is_remote = event == "socket.connect" and arguments[0].family != getattr(
        socket, "AF_UNIX", None
    )
    if is_remote or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        raise ConnectionError("this program does not use the network; give weights_file")


def _train(job: dict[str, Any], report: IO[str]) -> None:
    """Train all epochs that are missing; the state of each is in the job's folder."""
    folder = Path(job["folder"])
    history = _read_history(folder)
    for row in history["epochs"]:
        _write_line(report, {**row, "is_resumed": True})
    if not history["is_finished"]:
        _fit(job, folder, history, report)
    shutil.copyfile(folder / f"best-{history['best']}.ckpt", folder / f"{BEST}.part")
    os.replace(folder / f"{BEST}.part", folder / BEST)


def _fit(job: dict[str, Any], folder: Path, history: dict[str, Any], report: IO[str]) -> None:
    from ultralytics.models.yolo.detect import DetectionTrainer

    class Trainer(DetectionTrainer):  # type: ignore[misc]
        """Keeps each epoch's state whole, and does not measure the best epoch once more."""

        def validate(self) -> tuple[dict[str, Any], float]:
            metrics, _ = super().validate()
            # Early stopping waits for this figure.
            return metrics, metrics["metrics/mAP50(B)"]

        def save_model(self) -> bool:
            saved = bool(super().save_model())
            _keep_epoch(self, job, folder, history, report)
            return saved

        def final_eval(self) -> None:
            return

    options = {**job["options"], "save_dir": str(folder / "run"), "exist_ok": True}
    if history["epochs"]:
        options["resume"] = str(folder / f"state-{history['epochs'][-1]['epoch']}.pt")
    history["since"] = time.monotonic()
    Trainer(overrides=options).train()


def _keep_epoch(
    trainer: Any, job: dict[str, Any], folder: Path, history: dict[str, Any], report: IO[str]
) -> None:
    """Write the epoch's files, then the history that names them, then drop the older ones."""
    row = _figures(trainer) | {"seconds": round(time.monotonic() - history.pop("since"), 3)}
    history["since"] = time.monotonic()
    history["epochs"].append(row)
    history["is_finished"] = bool(trainer.stop)
    history["best"] = _best_epoch(history["epochs"])
    if history["best"] == row["epoch"]:
        _save_weights(trainer, job, folder / f"best-{row['epoch']}.ckpt")
    state = folder / f"state-{row['epoch']}.pt"
    shutil.copyfile(trainer.last, f"{state}.part")
    os.replace(f"{state}.part", state)
    part = folder / f"{HISTORY}.part"
    kept = {name: content for name, content in history.items() if name != "since"}
    part.write_text(json.dumps(kept), encoding="utf-8")
    os.replace(part, folder / HISTORY)
    for old in (*folder.glob("state-*.pt"), *folder.glob("best-*.ckpt")):
        if old not in (state, folder / f"best-{history['best']}.ckpt"):
            old.unlink()
    _write_line(report, {**row, "is_resumed": False})


def _figures(trainer: Any) -> dict[str, Any]:
    measured = {name: float(value) for name, value in trainer.metrics.items()}
    val = [value for name, value in measured.items() if name.startswith("val/")]
    return {
        "epoch": trainer.epoch,
        "train_loss": round(sum(float(value) for value in trainer.tloss.values()), 6),
        "val_loss": round(sum(val), 6),
        "val_map_50": round(measured["metrics/mAP50(B)"], 6),
        "val_map_50_95": round(measured["metrics/mAP50-95(B)"], 6),
        "learning_rate": float(trainer.lr["lr/pg0"]),
        "parameters": sum(weight.numel() for weight in trainer.model.parameters()),
    }


def _best_epoch(epochs: list[dict[str, Any]]) -> int:
    """The epoch with the best AP50; ties go to the lower loss on val, then to the earlier epoch."""
    best = max(epochs, key=lambda row: (row["val_map_50"], -_or_infinite(row["val_loss"])))
    return int(best["epoch"])


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def _save_weights(trainer: Any, job: dict[str, Any], path: Path) -> None:
    """Plain tensors without a date, so that equal weights are equal files."""
    import torch

    network = trainer.ema.ema
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    content = {
        "state_dict": state,
        "architecture": dict(network.yaml),
        "classifier": job["metadata"],
    }
    torch.save(content, f"{path}.part")
    os.replace(f"{path}.part", path)


def _read_history(folder: Path) -> dict[str, Any]:
    if not (folder / HISTORY).is_file():
        return {"epochs": [], "is_finished": False, "best": 0}
    history: dict[str, Any] = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    return history


def _predict(job: dict[str, Any], report: IO[str]) -> None:
    """Write ``[[class, score, left, top, right, bottom], ...]`` of each image, in its px."""
    import torch
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    saved = torch.load(job["checkpoint"], map_location="cpu", weights_only=True)
    classes = saved["classifier"]["classes"]
    network = DetectionModel(saved["architecture"], nc=len(classes), verbose=False)
    network.load_state_dict(saved["state_dict"])
    network.names = dict(enumerate(classes))
    model = YOLO(job["options"]["model"], task="detect")
    model.model = network.eval()
    options = {**job["options"], "save": False, "verbose": False, "rect": False}
    del options["model"]
    for image in job["images"]:
        (found,) = model.predict(image, **options)
        boxes = found.boxes
        rows = zip(boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist(), strict=True)
        height, width = found.orig_shape
        objects = [[int(label), score, *corners] for label, score, corners in rows]
        _write_line(report, {"size": [width, height], "objects": objects})


def _write_line(report: IO[str], content: dict[str, Any]) -> None:
    report.write(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
