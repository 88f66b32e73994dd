"""What the stages of painting get of the stages before: by stage, and as the models take it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.data.pixels import rgb
from models.data.records import Artifact
from tasks.engine.run_context import RunContext
from tasks.settings.repaint import CherryPickerOn, RepaintOn

if TYPE_CHECKING:
    from models.diffusion.ddpm.control.bank import Shape

BASE, FITTED, SIZES = "pretrain_ddpm", "fit_ddpm", "fit_size_classifier"
# The weights that `Ddpm.load` takes, in its order.
WEIGHTS = (BASE, FITTED, SIZES)
# Squares of the class; the stage `segment` gives some of them a mask.
SQUARES = ("object_square", "segment")
PICKER, REAL_OBJECTS = "fit_cherry_picker", "real_objects"


def weights_of(
    run: RunContext, parameters: RepaintOn | CherryPickerOn, artifacts: Sequence[Artifact]
) -> list[str | Path]:
    """The weights of a network for `models.runtime.network_pool.infer`: the base, then the rest.

    Args:
        artifacts: weights alone; a base among them, unless the settings name a checkpoint.
    """
    ordered = sorted(artifacts, key=lambda artifact: WEIGHTS.index(artifact.stage))
    files: list[str | Path] = [run.fetch(artifact) for artifact in ordered]
    return [*parameters.checkpoints, *files]


def shape_of(run: RunContext, square: Artifact) -> "Shape":
    """A square of the class as a shape that new objects follow."""
    from models.diffusion.ddpm.control.bank import Shape

    image = run.load(square)
    height, width = image.shape[:2]
    x, y, box_width, box_height = square.metadata.get("box", (0, 0, width, height))
    mask = np.asarray(image[..., 3] >= 128) if image.shape[2] == 4 else None
    if mask is not None and not mask.any():
        mask = None
    return Shape(rgb(image), (x, y, box_width, box_height), mask, square.name)


def draw_artifacts(
    artifacts: Sequence[Artifact], count: int, seed: str = ""
) -> tuple[Artifact, ...]:
    """At most ``count`` artifacts, in an order that follows from their bytes and ``seed``."""

    def number(artifact: Artifact) -> str:
        return hashlib.sha256(f"{seed}\n{artifact.digest}".encode()).hexdigest()

    return tuple(sorted(artifacts, key=lambda artifact: (number(artifact), artifact.name))[:count])
