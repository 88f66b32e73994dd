"""What a person can see of a training: its losses, and sheets of sample images."""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from models.data.files import write_atomic
from models.data.pixels import encode_png
from models.diffusion.finetuning.denoiser import Denoiser, Progress
from models.diffusion.finetuning.samples import draw_samples
from tasks.engine.jobs import StageInput
from tasks.settings.finetuning import Finetuning

log = logging.getLogger("synthset.stage")


def show_progress(
    item: StageInput, stage: str, parameters: Finetuning, prompt: str, folder: Path
) -> Progress:
    """A function that writes losses and samples every ``sample_every`` steps and at the end.

    Without samples, it writes losses every ``save_every`` steps.

    Args:
        prompt: of the samples.
        folder: of the training.
    """
    label = str(item.job.variant["label"])
    log.info("%s: %s: losses and samples are in %s", stage, label, folder)

    def progress(losses: Sequence[float], networks: Denoiser) -> None:
        step = len(losses)
        item.run.on_batch(f"{stage} · {label}", step, parameters.steps)
        every = parameters.sample_every or parameters.save_every
        if step % every == 0 or step == parameters.steps:
            log.info("%s: %s: step %d of %d", stage, label, step, parameters.steps)
            write_losses(folder, label, losses)
            if parameters.sample_every is not None:
                sheet = draw_samples(
                    networks, prompt, count=parameters.samples, size=parameters.size, seed=item.seed
                )
                write_atomic(folder / "samples" / f"step-{step:06d}.png", encode_png(sheet))
        item.run.check_cancelled()

    return progress


def write_losses(folder: Path, label: str, losses: Sequence[float]) -> None:
    """Write the losses of a training as a table and as a figure into its folder."""
    from models.reporting.plots.losses import draw_losses

    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["step", "loss"])
    rows.writerows([step, f"{loss:.6f}"] for step, loss in enumerate(losses, start=1))
    write_atomic(folder / "losses.csv", table.getvalue().encode())
    write_atomic(folder / "losses.svg", draw_losses({label: losses}))
