"""Upscale: a photo or a view, ``factor`` times as large (the study: Real-ESRGAN, x2 then x4)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from models.data.records import Checkpoint, Of, Record
from models.upscaling.lanczos import upscale_lanczos
from tasks.engine.stage import StageInput, StageOutput, stage


class Upscale(Record):
    """How images are enlarged."""

    model: Literal["lanczos", "realesrgan"] = Field(
        "lanczos",
        description="lanczos: resampling, edges sharpened. realesrgan: the study's network, which "
        "also takes out noise and JPEG blocks.",
    )
    factor: int = Field(
        2,
        ge=1,
        le=8,
        description="Times as wide and high; realesrgan reaches all but 2 and 4 by resampling x4.",
    )
    sharpen: Annotated[float, Of("lanczos")] = Field(
        0.3, ge=0, le=2, description="Weight of the unsharp mask; 0 is none."
    )
    checkpoint_x2: Annotated[Checkpoint, Of("realesrgan")] = Field(
        "xinntao/RealESRGAN_x2plus", description="Weights for factor 2."
    )
    checkpoint_x4: Annotated[Checkpoint, Of("realesrgan")] = Field(
        "xinntao/RealESRGAN_x4plus", description="Weights for factors above 2."
    )
    tile: Annotated[int, Of("realesrgan")] = Field(
        0,
        ge=0,
        le=4096,
        description="Side of the tiles a large image is cut into, px; they blend without a seam. "
        "0: uncut up to 1 Mpx, else 768. Smaller needs less memory.",
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint in use; none for a factor of 1."""
        if self.model != "realesrgan" or self.factor == 1:
            return ()
        return (self.checkpoint_x2 if self.factor == 2 else self.checkpoint_x4,)


@stage("upscale", version=1)
def upscale(inputs: Sequence[StageInput], parameters: Upscale) -> Iterator[StageOutput]:
    """Enlarged images; a fourth channel (matte) is enlarged with them, by resampling."""
    if parameters.model == "realesrgan":
        yield from _by_network(inputs, parameters)
        return
    for item in inputs:
        yield _as_product(upscale_lanczos(item.load(), parameters.factor, parameters.sharpen))


def _by_network(inputs: Sequence[StageInput], parameters: Upscale) -> Iterator[StageOutput]:
    if not parameters.checkpoints:
        for item in inputs:
            yield _as_product(item.load())
        return

    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer
    from models.upscaling.real_esrgan import RealEsrgan, RealEsrganRequest

    requests = [
        RealEsrganRequest(item.load(), parameters.factor, parameters.tile) for item in inputs
    ]
    for image in infer(RealEsrgan, parameters.checkpoints, requests):
        if isinstance(image, InvalidOutput):
            yield StageOutput(reject_reason=image.reason)
        else:
            yield _as_product(image)


def _as_product(image: Any) -> StageOutput:
    return StageOutput(image, metadata={"width": image.shape[1], "height": image.shape[0]})
