"""Segment: the object's matte in each augmented image (the study: IS-Net).

An image that already carries a matte gives it as prior: only its uncertain band is decided anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import Field

from models import pixels
from models.matting import NoObject, matte_object, matte_quality
from models.records import Record
from tasks.stage import Piece, Product, stage


class Segment(Record):
    """How the object is found."""

    model: Literal["grabcut"] = Field("grabcut", description="GrabCut from a saliency prior.")
    min_score: float = Field(
        0.25, ge=0, le=1, description="Estimated IoU of the mask; below: rejected as uncertain."
    )
    min_compactness: float = Field(
        0.13, ge=0, le=1, description="1 for a disc, towards 0 for frayed masks; below: rejected."
    )
    working_side: int = Field(320, ge=128, le=1024, description="Side at which GrabCut works, px.")


@stage("segment", version=1)
def segment(pieces: Sequence[Piece], parameters: Segment) -> Iterator[Product]:
    """RGB + matte; an image in which no object is found is rejected with that reason."""
    for piece in pieces:
        image = piece.load()
        colours, prior = pixels.rgb(image), pixels.carried_matte(image)
        try:
            alpha = matte_object(colours, prior=prior, working_side=parameters.working_side)
        except NoObject as reason:
            yield Product(rejected=str(reason))
            continue
        quality = matte_quality(colours, alpha)
        facts = {name: round(float(value), 4) for name, value in asdict(quality).items()}
        if quality.compactness < parameters.min_compactness:
            yield Product(rejected=f"mask frayed ({quality.compactness:.2f})", facts=facts)
        elif quality.score < parameters.min_score:
            yield Product(rejected=f"mask uncertain (score {quality.score:.2f})", facts=facts)
        else:
            yield Product(pixels.with_matte(colours, alpha), facts=facts)
