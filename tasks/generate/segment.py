"""Segment: the object's matte in each augmented image (the study: IS-Net).

An image that already carries a matte gives it as prior: GrabCut decides only its uncertain band
anew, Segment Anything looks where it lies, and any network's mask can be asked to agree with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from models.data import pixels
from models.data.records import Checkpoint, Of, Record
from models.segmentation.cleanup import clean_mask
from models.segmentation.grabcut import segment_object
from models.segmentation.mask_quality import measure_mask
from models.segmentation.masks import mask_iou
from models.segmentation.saliency import NoObjectError
from tasks.engine.stage import StageInput, StageOutput, stage

Alpha = npt.NDArray[np.float32]
Networks = Of("isnet", "sam")


class Segment(Record):
    """How the object is found."""

    model: Literal["grabcut", "isnet", "sam"] = Field(
        "grabcut",
        description="grabcut: from a saliency prior. isnet: the study's network. sam: Segment "
        "Anything (1 or 2), within the box of the carried matte or of what is salient.",
    )
    min_score: float = Field(
        0.25, ge=0, le=1, description="Estimated IoU of the mask; below: rejected as uncertain."
    )
    min_compactness: float = Field(
        0.13, ge=0, le=1, description="1 for a disc, towards 0 for frayed masks; below: rejected."
    )
    working_side: Annotated[int, Of("grabcut")] = Field(
        320, ge=128, le=1024, description="Side at which GrabCut works, px."
    )
    isnet_checkpoint: Annotated[Checkpoint, Of("isnet")] = Field(
        "xuebinqin/IS-Net", description="Weights of isnet."
    )
    sam_checkpoint: Annotated[Checkpoint, Of("sam")] = Field(
        "facebook/sam-vit-base", description="Weights of sam; facebook/sam2.1-hiera-small too."
    )
    min_confidence: Annotated[float, Networks] = Field(
        0.1,
        ge=0,
        le=1,
        description="The network's own certainty (isnet: of its surest pixel; sam: its predicted "
        "IoU); below: rejected as showing no object.",
    )
    fill_holes: Annotated[float, Networks] = Field(
        0.01, ge=0, le=1, description="Holes below this share of the object are closed; 0: none."
    )
    keep_parts: Annotated[float, Networks] = Field(
        0.2,
        ge=0,
        le=1,
        description="Parts below this share of the largest are left out; 0: none, 1: all others.",
    )
    agree_with_prior: Annotated[float, Networks] = Field(
        0.0, ge=0, le=1, description="Least IoU with the matte that is carried along; 0: no gate."
    )
    refine: Annotated[Literal["none", "vitmatte"], Networks] = Field(
        "none", description="vitmatte: a second network decides the soft edge (hair, glass)."
    )
    refine_band: Annotated[float, Networks] = Field(
        0.05,
        gt=0,
        le=0.5,
        description="How far to both sides of the edge it decides, as a share of its size.",
    )
    refine_checkpoint: Annotated[Checkpoint, Networks] = Field(
        "hustvl/vitmatte-small-composition-1k", description="Weights of refine: vitmatte."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        if self.model == "grabcut":
            return ()
        mask = self.isnet_checkpoint if self.model == "isnet" else self.sam_checkpoint
        return (mask, self.refine_checkpoint) if self.refine == "vitmatte" else (mask,)


@stage("segment", version=1)
def segment(inputs: Sequence[StageInput], parameters: Segment) -> Iterator[StageOutput]:
    """RGB + matte; an image in which no object is found is rejected with that reason."""
    make = _by_grabcut if parameters.model == "grabcut" else _by_network
    return make(inputs, parameters)


def _by_grabcut(inputs: Sequence[StageInput], parameters: Segment) -> Iterator[StageOutput]:
    for item in inputs:
        image = item.load()
        colours, prior = pixels.rgb(image), pixels.carried_matte(image)
        try:
            alpha = segment_object(
                colours, previous_mask=prior, working_side=parameters.working_side
            )
        except NoObjectError as reason:
            yield StageOutput(reject_reason=str(reason))
            continue
        yield _screened(colours, alpha, parameters, {})


def _by_network(inputs: Sequence[StageInput], parameters: Segment) -> Iterator[StageOutput]:
    images = [item.load() for item in inputs]
    find = _ask_isnet if parameters.model == "isnet" else _ask_sam
    found = [
        mask if isinstance(mask, StageOutput) else _mended(image, *mask, parameters)
        for image, mask in zip(images, find(images, parameters), strict=True)
    ]
    if parameters.refine == "vitmatte":
        found = _refined(images, found, parameters)
    for image, mask in zip(images, found, strict=True):
        if isinstance(mask, StageOutput):
            yield mask
        else:
            yield _screened(pixels.rgb(image), mask[0], parameters, mask[1])


# A matte with the facts about it, or the product that says why there is none.
Found = tuple[Alpha, dict[str, float]] | StageOutput


def _ask_isnet(images: Sequence[Any], parameters: Segment) -> list[Found]:
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer
    from models.segmentation.isnet import Isnet, IsnetRequest

    requests = [IsnetRequest(pixels.rgb(one), parameters.min_confidence) for one in images]
    return [
        StageOutput(reject_reason=one.reason) if isinstance(one, InvalidOutput) else (one, {})
        for one in infer(Isnet, [parameters.isnet_checkpoint], requests)
    ]


def _ask_sam(images: Sequence[Any], parameters: Segment) -> list[Found]:
    from models.runtime.network_pool import infer
    from models.segmentation.segment_anything import (
        SamRequest,
        SegmentAnything,
        box_around,
        salient_mask,
    )

    found: dict[int, Found] = {}
    requests: dict[int, SamRequest] = {}
    for at, image in enumerate(images):
        colours, prior = pixels.rgb(image), pixels.carried_matte(image)
        try:
            if prior is None or not (prior > 0.5).any():
                prior = salient_mask(colours)
            requests[at] = SamRequest(colours, box_around(prior), previous_mask=prior)
        except NoObjectError as reason:
            found[at] = StageOutput(reject_reason=str(reason))
    results = infer(SegmentAnything, [parameters.sam_checkpoint], list(requests.values()))
    for at, result in zip(requests, results, strict=True):
        found[at] = _sam_found(result, parameters)
    return [found[at] for at in range(len(images))]


def _sam_found(result: Any, parameters: Segment) -> Found:
    from models.runtime.batching import InvalidOutput

    if isinstance(result, InvalidOutput):
        return StageOutput(reject_reason=result.reason)
    metadata = {"predicted_iou": round(result.predicted_iou, 4)}
    if result.predicted_iou < parameters.min_confidence:
        reason = f"no object found (predicted IoU {result.predicted_iou:.2f})"
        return StageOutput(reject_reason=reason, metadata=metadata)
    return result.alpha, metadata


def _mended(image: Any, alpha: Alpha, metadata: dict[str, float], parameters: Segment) -> Found:
    """The mask without holes and crumbs, or the rejection of one far from the carried matte."""
    alpha = clean_mask(alpha, fill_holes=parameters.fill_holes, keep_parts=parameters.keep_parts)
    prior = pixels.carried_matte(image)
    if prior is None:
        return alpha, metadata
    shared = mask_iou(alpha, prior)
    metadata = {**metadata, "agreement_with_prior": round(shared, 4)}
    if shared < parameters.agree_with_prior:
        reason = f"mask disagrees with the carried matte (IoU {shared:.2f})"
        return StageOutput(reject_reason=reason, metadata=metadata)
    return alpha, metadata


def _refined(images: Sequence[Any], found: Sequence[Found], parameters: Segment) -> list[Found]:
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer
    from models.segmentation.vitmatte import VitMatte, VitMatteRequest

    requests = [
        VitMatteRequest(pixels.rgb(image), mask[0], parameters.refine_band)
        for image, mask in zip(images, found, strict=True)
        if not isinstance(mask, StageOutput)
    ]
    results = iter(infer(VitMatte, [parameters.refine_checkpoint], requests))
    refined: list[Found] = []
    for mask in found:
        if isinstance(mask, StageOutput):
            refined.append(mask)
            continue
        alpha = next(results)
        bad = isinstance(alpha, InvalidOutput)
        refined.append(StageOutput(reject_reason=alpha.reason) if bad else (alpha, mask[1]))
    return refined


def _screened(
    colours: Any, alpha: Alpha, parameters: Segment, more: Mapping[str, float]
) -> StageOutput:
    quality = measure_mask(colours, alpha)
    metadata = {name: round(float(value), 4) for name, value in asdict(quality).items()} | dict(
        more
    )
    if quality.compactness < parameters.min_compactness:
        return StageOutput(
            reject_reason=f"mask frayed ({quality.compactness:.2f})", metadata=metadata
        )
    if quality.score < parameters.min_score:
        return StageOutput(
            reject_reason=f"mask uncertain (score {quality.score:.2f})", metadata=metadata
        )
    return StageOutput(pixels.with_matte(colours, alpha), metadata=metadata)
