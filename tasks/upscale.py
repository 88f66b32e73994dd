"""Upscale: a photo or a view, ``factor`` times as large (the study: Real-ESRGAN, x2 then x4)."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from models.records import Record
from models.upscaling import upscale_lanczos
from tasks.stage import Piece, Product, stage


class Upscale(Record):
    """How images are enlarged."""

    model: Literal["lanczos"] = Field("lanczos", description="Lanczos resampling, edges sharpened.")
    factor: int = Field(2, ge=1, le=8, description="Times as wide and as high.")
    sharpen: float = Field(0.3, ge=0, le=2, description="Weight of the unsharp mask; 0 is none.")


@stage("upscale", version=1)
def upscale(pieces: Sequence[Piece], parameters: Upscale) -> Iterator[Product]:
    """Enlarged images; a fourth channel (matte) is enlarged with them."""
    for piece in pieces:
        image = upscale_lanczos(piece.load(), parameters.factor, parameters.sharpen)
        yield Product(image, facts={"width": image.shape[1], "height": image.shape[0]})
