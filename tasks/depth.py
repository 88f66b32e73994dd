"""Depth: how near each pixel is, 16-bit grey, larger is nearer (the study: DPT)."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from models import pixels
from models.matting import NoObject, matte_object
from models.records import Record
from models.relief import relief_depth
from tasks.stage import Piece, Product, stage


class Depth(Record):
    """How depth is estimated."""

    model: Literal["relief"] = Field(
        "relief", description="The matte inflated over a ground plane."
    )


@stage("depth", version=1)
def depth(pieces: Sequence[Piece], parameters: Depth) -> Iterator[Product]:
    """Depth maps of the whole image; the classical one needs the object's matte to inflate it."""
    for piece in pieces:
        image = piece.load()
        colours, alpha = pixels.rgb(image), pixels.carried_matte(image)
        try:
            near = relief_depth(colours, matte_object(colours) if alpha is None else alpha)
        except NoObject as reason:
            yield Product(rejected=str(reason))
            continue
        yield Product(np.rint(near * 65535).astype(np.uint16))
