"""What a person can see of a training: its step, its losses, and the scores of its sheets."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.diffusion.ddpm.fit.score import Evaluation
from tasks.engine.jobs import StageInput
from tasks.generate.finetuning.progress import write_losses

log = logging.getLogger("synthset.stage")

# Every record that lists the weights holds their losses.
MOST_LOSSES = 1000


@dataclass(frozen=True)
class FitProgress:
    """Reports the steps of a training, writes its losses, and stops it if its run is cancelled.

    ``every`` is the number of steps between two writes; ``folder`` is that of the training.
    """

    item: StageInput
    stage: str
    steps: int
    every: int
    folder: Path

    def step(self, losses: Sequence[float]) -> None:
        """Note a step.

        Raises:
            KeyboardInterrupt: the run was cancelled.
        """
        label, step = label_of(self.item), len(losses)
        self.item.run.on_batch(f"{self.stage} · {label}", step, self.steps)
        if step % self.every == 0 or step == self.steps:
            log.info("%s: %s: step %d of %d", self.stage, label, step, self.steps)
            write_losses(self.folder, label, losses)
        self.item.run.check_cancelled()

    def evaluated(self, evaluation: Evaluation) -> None:
        """Note the score of a sample sheet."""
        log.info(
            "%s: %s: score %.3f at step %d (0 is best); its images are in %s",
            self.stage,
            label_of(self.item),
            evaluation.score,
            evaluation.step,
            self.folder,
        )


def label_of(item: StageInput) -> str:
    """The class that is learned; of a network that several classes share, "base"."""
    return str(item.job.variant.get("label", "base"))


def as_metadata(losses: Sequence[float], evaluations: Sequence[Evaluation] = ()) -> dict[str, Any]:
    """The losses and scores of a training, as the record of its weights holds them.

    Of a long training, ``losses`` are means of ``loss_every`` steps each.
    """
    every = max(1, len(losses) // MOST_LOSSES)
    parts = [losses[first : first + every] for first in range(0, len(losses), every)]
    return {
        "losses": [round(sum(part) / len(part), 6) for part in parts],
        "loss_every": every,
        "evaluations": [
            {name: value if name == "step" else round(value, 6) for name, value in row}
            for row in evaluations
        ],
    }
