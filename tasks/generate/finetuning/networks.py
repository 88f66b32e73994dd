"""The networks that are trained, and how long and how fast."""

from collections.abc import Sequence

from models.checkpoints.local import locate
from models.diffusion.finetuning.denoiser import Denoiser, load_denoiser
from models.diffusion.finetuning.loop import Schedule
from models.runtime.hardware import this_machine
from tasks.settings.finetuning import Finetuning


def load_networks(checkpoints: Sequence[str]) -> Denoiser:
    """The networks of a checkpoint, and of a VAE if one follows, in float32.

    Raises:
        CheckpointMissingError: a checkpoint is not on this machine; names the command.
    """
    root, *vae = (locate(checkpoint) for checkpoint in checkpoints)
    return load_denoiser(root, this_machine(), *vae)


def schedule_of(parameters: Finetuning) -> Schedule:
    """How long and how fast the settings train."""
    return Schedule(
        steps=parameters.steps,
        learning_rate=parameters.learning_rate,
        accumulation=parameters.accumulation,
        max_norm=parameters.max_norm,
        save_every=parameters.save_every,
    )
