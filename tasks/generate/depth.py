"""Depth: how near each pixel is, 16-bit grey, larger is nearer (the study: DPT)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from models.data import pixels
from models.data.pixels import Floats
from models.data.records import Checkpoint, Record
from models.segmentation.grabcut import segment_object
from models.segmentation.saliency import NoObjectError
from models.views.relief import relief_depth
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class DepthRelief(Record):
    """A relief, without a network."""

    model: Literal["relief"] = Field(
        "relief", description="the object's mask, inflated over a ground plane."
    )


class _NetworkDepth(Record):
    """What both networks share."""

    checkpoint: Checkpoint

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint in use."""
        return (self.checkpoint,)


class DepthDpt(_NetworkDepth):
    """DPT, the study's network."""

    model: Literal["dpt"] = Field("dpt", description="the study's network, at 384x384 px.")
    checkpoint: Checkpoint = Field(
        "Intel/dpt-large", description="Weights; Intel/dpt-hybrid-midas is a third as large."
    )


class DepthAnythingV2(_NetworkDepth):
    """Depth Anything V2."""

    model: Literal["depth-anything"] = Field(
        "depth-anything", description="Depth Anything V2 Small, with finer edges."
    )
    checkpoint: Checkpoint = Field(
        "depth-anything/Depth-Anything-V2-Small-hf",
        description="Weights; those of Base and Large are non-commercial.",
    )


Depth = Annotated[DepthRelief | DepthDpt | DepthAnythingV2, Field(discriminator="model")]


@stage(
    "depth",
    version=2,
    cost=Cost(ms_per_mp=18, mb_per_mp=0.4, tflop={"dpt": (0.52, 0), "depth-anything": (0.17, 0)}),
    shown_as="the depth; brighter is nearer",
)
def depth(inputs: Sequence[StageInput], parameters: Depth) -> Iterator[StageOutput]:
    """uint16 HxW depth maps of the whole image, 65535 for the nearest pixel."""
    if isinstance(parameters, DepthRelief):
        return _inflate_relief(inputs)
    return _run_network(inputs, parameters)


def _inflate_relief(inputs: Sequence[StageInput]) -> Iterator[StageOutput]:
    """The object's mask is the image's alpha channel, or what GrabCut finds."""
    for item in inputs:
        image = item.load()
        colours, alpha = pixels.rgb(image), pixels.carried_matte(image)
        try:
            relief = relief_depth(colours, segment_object(colours) if alpha is None else alpha)
        except NoObjectError as error:
            yield StageOutput(reject_reason=str(error))
            continue
        yield StageOutput(_to_16_bit(relief))


def _run_network(
    inputs: Sequence[StageInput], parameters: DepthDpt | DepthAnythingV2
) -> Iterator[StageOutput]:
    from models.depth.dpt import DepthAnything, DepthRequest, Dpt
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    network = Dpt if isinstance(parameters, DepthDpt) else DepthAnything
    requests = [DepthRequest(item.load()) for item in inputs]
    for result in infer(network, parameters.checkpoints, requests):
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason)
        else:
            yield StageOutput(_to_16_bit(result))


def _to_16_bit(depth: Floats) -> np.typing.NDArray[np.uint16]:
    return np.rint(depth * 65535).astype(np.uint16)
