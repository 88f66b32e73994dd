"""Files of trainings on this machine, and how long they stay."""

from collections.abc import Sequence
from pathlib import Path

from models.data.names import make_key
from models.data.records import Artifact
from tasks.engine.jobs import StageInput
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext


def folder_of(item: StageInput, stage: str) -> Path:
    """The folder of the training of a class: its state, losses and sample sheets."""
    return _folder(item.run, stage, str(item.job.variant["label"]), item.key)


def remove_states(run: RunContext | PlanningRun, weights: Sequence[Artifact]) -> None:
    """Remove the states of trainings whose weights are in the store; losses and samples stay.

    The state of all weights of SDXL takes 31 GB.
    """
    if isinstance(run, PlanningRun):
        return
    for artifact in weights:
        folder = _folder(run, artifact.stage, str(artifact.variant["label"]), artifact.key)
        for file in (*folder.glob("*.pt"), *folder.glob("*.safetensors")):
            file.unlink(missing_ok=True)


def remove_copies(run: RunContext | PlanningRun, weights: Sequence[Artifact]) -> None:
    """Remove the copies of weights that were made for drawing where the store is no folder."""
    if isinstance(run, RunContext):
        for artifact in weights:
            run.remove_copy(artifact)


# A training computes one photo at a time, which leaves most of a GPU unused. This is an assumption:
# no training of full size was measured.
SHARE_OF_GPU = 1 / 8


def _folder(run: RunContext, stage: str, label: str, key: str) -> Path:
    return run.scratch / stage / f"{make_key(label)}-{key[:12]}"
