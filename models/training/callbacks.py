"""Lightning callbacks that every vision task uses."""

import os
from collections.abc import Callable
from pathlib import Path

import lightning as L  # noqa: N812 - the name Lightning's own pages use
from lightning.pytorch.callbacks import Checkpoint

BEST, LAST = "best.ckpt", "last.ckpt"


class BestAndLastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` (everything) after each epoch, ``best.ckpt`` (weights) after the best.

    A file is renamed into place when it is complete, so a killed training can always be resumed.

    Args:
        folder: where the files are written.
        is_best: whether an epoch, counted from 0, is the best so far.
        on_saved: called with the epoch's number once its files are on disk.
    """

    def __init__(
        self, folder: Path, is_best: Callable[[int], bool], on_saved: Callable[[int], None]
    ) -> None:
        self.folder, self.is_best, self.on_saved = folder, is_best, on_saved

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save first and report second: an epoch that was reported is never trained again."""
        epoch = pl_module.current_epoch
        if self.is_best(epoch):
            self._save(trainer, BEST, weights_only=True)
        self._save(trainer, LAST, weights_only=False)
        self.on_saved(epoch)

    def _save(self, trainer: L.Trainer, name: str, weights_only: bool) -> None:
        part = self.folder / f"{name}.part"
        trainer.save_checkpoint(part, weights_only=weights_only)
        os.replace(part, self.folder / name)
