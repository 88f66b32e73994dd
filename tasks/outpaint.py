"""Outpaint: the scene shifted over a k x k grid, its revealed border filled (the study: SD2
inpainting).
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from models.canvas import ExtendedScene, grid_offsets
from models.records import Artifact, Record
from tasks.stage import Job, Piece, Product, stage


class Outpaint(Record):
    """The grid of shifts."""

    model: Literal["extend"] = Field("extend", description="The object-free scene, extended.")
    k: int = Field(2, ge=1, le=9, description="Shifts per axis; k x k images per scene.")
    reach: float = Field(0.12, ge=0, le=0.4, description="Farthest shift, share of the canvas.")


def shifts_of_each(parameters: Outpaint, scenes: Sequence[Artifact]) -> list[Job]:
    """Per scene, shifts 0 to k x k - 1, row by row."""
    return [Job((scene,), {"shift": shift}) for scene in scenes for shift in range(parameters.k**2)]


@stage("outpaint", version=1, plan=shifts_of_each, batch_size=16)
def outpaint(pieces: Sequence[Piece], parameters: Outpaint) -> Iterator[Product]:
    """Shifted scenes of the same size, RGB + matte; each scene is extended once."""
    offsets = grid_offsets(parameters.k, parameters.reach)
    prepared: tuple[str, ExtendedScene] | None = None
    for piece in pieces:
        scene = piece.job.inputs[0]
        if prepared is None or prepared[0] != scene.digest:
            # Seeded by the scene and not by the shift: its shifts must agree on what lies outside.
            rng = np.random.default_rng(int(scene.digest[:16], 16))
            prepared = scene.digest, ExtendedScene(piece.load(), parameters.reach, rng)
        dx, dy = offsets[int(piece.job.index["shift"])]
        image = prepared[1].shift(dx, dy)
        yield Product(image, prompt=scene.prompt, facts={"dx": round(dx, 4), "dy": round(dy, 4)})
