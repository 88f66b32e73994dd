"""Background: the object in c new scenes (the study: SDXL with a depth ControlNet).

The classical model composites the cut-out on a plate: a photo from the user's folder of plates, or
a procedural surface that the prompt names. Colours are harmonised, a shadow grounds it, the seam
blends.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from models.composite import CompositeRanges, composite
from models.plates import Plate, plate_from_photo, procedural_plate, scene_from_prompt
from models.records import Artifact, Record
from tasks.stage import Job, Piece, Product, stage, whereabouts


class Background(Record):
    """How many scenes, how large, and what stands behind the object."""

    model: Literal["composite"] = Field("composite", description="The cut-out pasted on a plate.")
    copies: int = Field(2, ge=1, le=64, description="Scenes per augmented view (c).")
    width: int = Field(768, ge=64, le=4096, description="Width of a scene, px.")
    height: int = Field(1024, ge=64, le=4096, description="Height of a scene, px.")
    scenes: tuple[str, ...] = Field(
        (), description="Endings of the prompt to choose from, such as 'on grass'."
    )
    from_above: float | None = Field(
        None, ge=0, le=1, description="Chance of a flat ground seen from above; none: by the scene."
    )
    ranges: CompositeRanges = Field(default_factory=CompositeRanges, description="Size and light.")


def scenes_of_each(
    parameters: Background,
    cut_outs: Sequence[Artifact],
    depths: Sequence[Artifact],
    captions: Sequence[Artifact],
    plates: Sequence[Artifact],
) -> list[Job]:
    """Per cut-out, scenes 0 to c - 1, each with its own plate where there are plates."""
    depth_of = {whereabouts(depth): depth for depth in depths}
    jobs = []
    for cut_out in cut_outs:
        depth = depth_of.get(whereabouts(cut_out))
        if depth is None:
            continue
        behind = _drawn_plates(cut_out, plates, parameters.copies)
        for copy in range(parameters.copies):
            inputs = (cut_out, depth, *captions, *behind[copy : copy + 1])
            jobs.append(Job(inputs, {"background": copy}))
    return jobs


@stage("background", version=1, plan=scenes_of_each, batch_size=8)
def background(pieces: Sequence[Piece], parameters: Background) -> Iterator[Product]:
    """Scenes at the output size, RGB + the object's matte, with the prompt that describes them."""
    size = (parameters.width, parameters.height)
    for piece in pieces:
        rng = piece.rng()
        sentence = piece.load(2)["caption"]
        scene = _ending(parameters, sentence, rng)
        if len(piece.job.inputs) > 3:
            plate: Plate = plate_from_photo(piece.load(3), size, rng)
        else:
            kind = scene_from_prompt(scene, rng)
            plate = procedural_plate(kind, size, rng, from_above=parameters.from_above)
        near = piece.load(1).astype(np.float32) / 65535.0
        image = composite(piece.load(0), plate, size, rng, depth=near, ranges=parameters.ranges)
        prompt = sentence if scene in sentence else f"{sentence} {scene}"
        yield Product(image, prompt=prompt, facts={"scene": scene})


def _ending(parameters: Background, sentence: str, rng: np.random.Generator) -> str:
    if parameters.scenes:
        return parameters.scenes[int(rng.integers(len(parameters.scenes)))]
    return scene_from_prompt(sentence, rng)


def _drawn_plates(cut_out: Artifact, plates: Sequence[Artifact], copies: int) -> Sequence[Artifact]:
    """Different plates for the scenes of one cut-out, drawn by rendezvous hashing: a plate added to
    the folder changes only the scenes that now draw it."""

    def rank(plate: Artifact) -> bytes:
        return hashlib.sha256(f"{cut_out.digest}{plate.digest}".encode()).digest()

    ranked = sorted(plates, key=rank)
    return [ranked[copy % len(ranked)] for copy in range(copies)] if ranked else []
