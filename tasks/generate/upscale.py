"""Upscale: a photo or a view, `factor` times as large (the study: Real-ESRGAN, x2 then x4)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from models.data.pixels import Pixels
from models.data.records import Checkpoint, Record
from models.upscaling.lanczos import upscale_lanczos
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class _Upscale(Record):
    """What all models share."""

    factor: int = Field(2, ge=1, le=8, description="Times as wide and as high.")


class UpscaleLanczos(_Upscale):
    """Resampling, without a network."""

    model: Literal["lanczos"] = Field("lanczos", description="resampling with sharpened edges.")
    sharpen: float = Field(0.3, ge=0, le=2, description="Weight of the unsharp mask; 0 is none.")


class UpscaleRealEsrgan(_Upscale):
    """Real-ESRGAN, which reaches factors other than 2 and 4 by resampling its result."""

    model: Literal["realesrgan"] = Field(
        "realesrgan", description="the study's network, which also removes noise and JPEG blocks."
    )
    checkpoint: Checkpoint | None = Field(
        None,
        description="Weights; none: xinntao/RealESRGAN_x2plus for factor 2, else "
        "xinntao/RealESRGAN_x4plus.",
    )
    tile: int = Field(
        0,
        ge=0,
        le=4096,
        description="Side of the tiles a large image is cut into, px; they blend without a seam. "
        "0: uncut up to 1 Mpx, else 768. Smaller tiles need less memory.",
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_checkpoint(cls, content: Any) -> Any:
        """Names the checkpoint of the factor, so that a run can pin its revision."""
        if not isinstance(content, dict) or content.get("checkpoint") is not None:
            return content
        factor = content.get("factor", 2)
        chosen = {1: None, 2: "xinntao/RealESRGAN_x2plus"}
        return {**content, "checkpoint": chosen.get(factor, "xinntao/RealESRGAN_x4plus")}

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint in use; none for a factor of 1."""
        return () if self.checkpoint is None or self.factor == 1 else (self.checkpoint,)


Upscale = Annotated[UpscaleLanczos | UpscaleRealEsrgan, Field(discriminator="model")]


def _megapixels(parameters: Upscale, megapixels: float) -> float:
    return megapixels * parameters.factor**2


@stage(
    "upscale",
    version=2,
    cost=Cost(
        ms=1,
        ms_per_mp=30,
        mb_per_mp=0.7,
        megapixels=_megapixels,
        tflop={"realesrgan": (0, 2.25)},
    ),
    shown_as="the image, enlarged",
)
def upscale(inputs: Sequence[StageInput], parameters: Upscale) -> Iterator[StageOutput]:
    """Enlarged images, uint8. A fourth channel (alpha) is enlarged by resampling."""
    if isinstance(parameters, UpscaleLanczos):
        return _resample(inputs, parameters)
    return _run_real_esrgan(inputs, parameters)


def _resample(inputs: Sequence[StageInput], parameters: UpscaleLanczos) -> Iterator[StageOutput]:
    for item in inputs:
        yield _with_size(upscale_lanczos(item.load(), parameters.factor, parameters.sharpen))


def _run_real_esrgan(
    inputs: Sequence[StageInput], parameters: UpscaleRealEsrgan
) -> Iterator[StageOutput]:
    if not parameters.checkpoints:
        for item in inputs:
            yield _with_size(item.load())
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
            yield _with_size(image)


def _with_size(image: Pixels) -> StageOutput:
    return StageOutput(image, metadata={"width": image.shape[1], "height": image.shape[0]})
