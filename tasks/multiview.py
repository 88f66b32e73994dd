"""Multiview: six new views of the object and the original (the study: Zero123++ v1.2).

The classical model cuts the object out, inflates its matte to a relief and turns that. Each view is
a square image, object centred on grey, with the object's matte as fourth channel. View 0 is the
photo itself, cropped square around the object, with its own background.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from models import pixels
from models.matting import NoObject, matte_object
from models.records import Artifact, Record
from models.relief import ZERO123_VIEWS, crop_square, render_views
from tasks.stage import Job, Piece, Product, stage


class Multiview(Record):
    """Which views are made, and how large."""

    model: Literal["relief"] = Field("relief", description="The matte inflated and turned.")
    size: int = Field(320, ge=64, le=2048, description="Side of a square view, px.")
    views: int = Field(6, ge=0, le=6, description="New views beside the original.")


def original_and_views(parameters: Multiview, photos: Sequence[Artifact]) -> list[Job]:
    """Per photo, view 0 (the original) and the new views 1 to ``views``."""
    return [
        Job((photo,), {"view": view}) for photo in photos for view in range(parameters.views + 1)
    ]


@stage("multiview", version=1, plan=original_and_views)
def multiview(pieces: Sequence[Piece], parameters: Multiview) -> Iterator[Product]:
    """Square RGB + matte views; a photo in which no object is found is rejected."""
    cut_outs: dict[str, pixels.Pixels | str] = {}
    for piece in pieces:
        photo = piece.job.inputs[0].digest
        if photo not in cut_outs:
            cut_outs[photo] = _cut_out(piece.load())
        cut_out = cut_outs[photo]
        if isinstance(cut_out, str):
            yield Product(rejected=cut_out)
        else:
            yield _view(cut_out, int(piece.job.index["view"]), parameters.size)


def _cut_out(image: pixels.Pixels) -> pixels.Pixels | str:
    try:
        cut_out = pixels.with_matte(image, matte_object(pixels.rgb(image)))
    except NoObject as reason:
        return str(reason)
    return cut_out if (cut_out[..., 3] >= 128).any() else "no object found: its matte is empty"


def _view(cut_out: pixels.Pixels, view: int, size: int) -> Product:
    if view == 0:
        return Product(crop_square(cut_out, size=size), facts={"azimuth": 0.0, "elevation": 0.0})
    camera = ZERO123_VIEWS[view - 1]
    turned = render_views(cut_out, [camera], size=size)[0]
    return Product(turned, facts={"azimuth": camera.azimuth, "elevation": camera.elevation})
