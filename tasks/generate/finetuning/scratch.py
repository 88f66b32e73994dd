"""Files of trainings on this machine, and how long they stay."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.data.names import make_key
from models.data.records import Artifact
from tasks.engine.jobs import StageInput
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext


def folder_of(item: StageInput, stage: str) -> Path:
    """The folder of the training of a class: its state, losses and sample sheets.

    The job's variant has the class as ``label``, or none if several classes share the training.
    """
    return _folder(item.run, stage, item.job.variant, item.key)


def remove_states(run: RunContext | PlanningRun, weights: Sequence[Artifact]) -> None:
    """Remove the states of trainings whose weights are in the store; losses and samples stay.

    The state of all weights of SDXL takes 31 GB.
    """
    if isinstance(run, PlanningRun):
        return
    for artifact in weights:
        folder = _folder(run, artifact.stage, artifact.variant, artifact.key)
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


def _folder(run: RunContext, stage: str, variant: Mapping[str, int | str], key: str) -> Path:
    name = make_key(str(variant.get("label", "base")))
    return run.scratch / stage / f"{name}-{key[:12]}"
