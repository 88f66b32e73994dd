"""Depth: how near each pixel is, 16-bit grey, larger is nearer (the study: DPT)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from models.data import pixels
from models.data.records import Checkpoint, Of, Record
from models.segmentation.grabcut import segment_object
from models.segmentation.saliency import NoObjectError
from models.views.relief import relief_depth
from tasks.engine.stage import StageInput, StageOutput, stage


class Depth(Record):
    """How depth is estimated."""

    model: Literal["relief", "dpt", "depth-anything"] = Field(
        "relief",
        description="relief: the matte inflated over a ground plane. dpt: the study's network, at "
        "384x384. depth-anything: Depth Anything V2 Small, finer edges.",
    )
    checkpoint: Annotated[Checkpoint, Of("dpt")] = Field(
        "Intel/dpt-large", description="Weights of dpt; Intel/dpt-hybrid-midas is a third as large."
    )
    depth_anything: Annotated[Checkpoint, Of("depth-anything")] = Field(
        "depth-anything/Depth-Anything-V2-Small-hf",
        description="Weights of depth-anything; those of Base and Large are non-commercial.",
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        used = {"dpt": (self.checkpoint,), "depth-anything": (self.depth_anything,)}
        return used.get(self.model, ())


@stage("depth", version=1)
def depth(inputs: Sequence[StageInput], parameters: Depth) -> Iterator[StageOutput]:
    """Depth maps of the whole image; the classical one needs the object's matte to inflate it."""
    make = _by_relief if parameters.model == "relief" else _by_network
    return make(inputs, parameters)


def _by_relief(inputs: Sequence[StageInput], _parameters: Depth) -> Iterator[StageOutput]:
    for item in inputs:
        image = item.load()
        colours, alpha = pixels.rgb(image), pixels.carried_matte(image)
        try:
            near = relief_depth(colours, segment_object(colours) if alpha is None else alpha)
        except NoObjectError as reason:
            yield StageOutput(reject_reason=str(reason))
            continue
        yield _as_product(near)


def _by_network(inputs: Sequence[StageInput], parameters: Depth) -> Iterator[StageOutput]:
    from models.depth.dpt import DepthAnything, DepthRequest, Dpt
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    kind = Dpt if parameters.model == "dpt" else DepthAnything
    requests = [DepthRequest(item.load()) for item in inputs]
    for near in infer(kind, parameters.checkpoints, requests):
        yield (
            StageOutput(reject_reason=near.reason)
            if isinstance(near, InvalidOutput)
            else _as_product(near)
        )


def _as_product(near: np.typing.NDArray[np.float32]) -> StageOutput:
    return StageOutput(np.rint(near * 65535).astype(np.uint16))
