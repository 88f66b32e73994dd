"""Segment: the object's mask in each augmented image (the study: IS-Net).

The alpha channel of an input is its previous mask. GrabCut decides only the uncertain band of it,
Segment Anything searches within its box, and a network's mask can be required to agree with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from models.data import pixels
from models.data.pixels import Alpha, Pixels
from models.data.records import Checkpoint, Record
from models.segmentation.cleanup import clean_mask
from models.segmentation.grabcut import segment_object
from models.segmentation.mask_quality import measure_mask
from models.segmentation.masks import mask_iou
from models.segmentation.saliency import NoObjectError
from tasks.engine.planning_run import Cost
from tasks.engine.stage import StageInput, StageOutput, stage


class _Segment(Record):
    """What all models share."""

    min_score: float = Field(
        0.25, ge=0, le=1, description="Estimated IoU of the mask; below: rejected as uncertain."
    )
    min_compactness: float = Field(
        0.13, ge=0, le=1, description="1 for a disc, towards 0 for frayed masks; below: rejected."
    )


class SegmentGrabCut(_Segment):
    """GrabCut, without a network."""

    model: Literal["grabcut"] = Field(
        "grabcut", description="from what is salient or from the previous mask."
    )
    working_side: int = Field(
        320, ge=128, le=1024, description="Side of the image in which GrabCut works, px."
    )


class VitMatteRefine(Record):
    """Refinement of a mask's edge by ViTMatte."""

    band: float = Field(
        0.05,
        gt=0,
        le=0.5,
        description="Width of the refined band on both sides of the edge, share of the object.",
    )
    checkpoint: Checkpoint = Field(
        "hustvl/vitmatte-small-composition-1k", description="Weights of ViTMatte."
    )


class _NetworkSegment(_Segment):
    """What both networks share."""

    checkpoint: Checkpoint
    min_confidence: float = Field(
        0.1,
        ge=0,
        le=1,
        description="The network's own certainty (isnet: of its surest pixel; sam: its predicted "
        "IoU); below: rejected as showing no object.",
    )
    fill_holes: float = Field(
        0.01, ge=0, le=1, description="Holes below this share of the object are closed; 0: none."
    )
    keep_parts: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Parts below this share of the largest are removed; 0: none, 1: all others.",
    )
    min_previous_iou: float = Field(
        0.0, ge=0, le=1, description="Least IoU with the image's previous mask; 0: no limit."
    )
    refine: VitMatteRefine | None = Field(
        None, description="A second network for soft edges (hair, glass); none: no refinement."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        return (self.checkpoint, self.refine.checkpoint) if self.refine else (self.checkpoint,)


class SegmentIsNet(_NetworkSegment):
    """IS-Net, the study's network."""

    model: Literal["isnet"] = Field("isnet", description="the study's network.")
    checkpoint: Checkpoint = Field("xuebinqin/IS-Net", description="Weights of IS-Net.")


class SegmentSam(_NetworkSegment):
    """Segment Anything 1 or 2."""

    model: Literal["sam"] = Field(
        "sam",
        description="Segment Anything (1 or 2), within the box of the previous mask or of what is "
        "salient.",
    )
    checkpoint: Checkpoint = Field(
        "facebook/sam-vit-base", description="Weights; facebook/sam2.1-hiera-small works too."
    )


Segment = Annotated[SegmentGrabCut | SegmentIsNet | SegmentSam, Field(discriminator="model")]
# A mask with its metadata, or the output that says why there is no mask.
Found = tuple[Alpha, dict[str, float]] | StageOutput


@stage(
    "segment",
    version=1,
    cost=Cost(ms=74, ms_per_mp=60, mb_per_mp=1.0, tflop={"isnet": (0.32, 0), "sam": (0.97, 0)}),
    shown_as="the object, cut out",
)
def segment(inputs: Sequence[StageInput], parameters: Segment) -> Iterator[StageOutput]:
    """RGB + alpha, uint8; an image in which no object is found is rejected with that reason."""
    if isinstance(parameters, SegmentGrabCut):
        return _run_grabcut(inputs, parameters)
    return _run_network(inputs, parameters)


def _run_grabcut(inputs: Sequence[StageInput], parameters: SegmentGrabCut) -> Iterator[StageOutput]:
    for item in inputs:
        image = item.load()
        colours, previous = pixels.rgb(image), pixels.carried_matte(image)
        try:
            alpha = segment_object(
                colours, previous_mask=previous, working_side=parameters.working_side
            )
        except NoObjectError as error:
            yield StageOutput(reject_reason=str(error))
            continue
        yield _check_quality(colours, alpha, parameters, {})


def _run_network(
    inputs: Sequence[StageInput], parameters: SegmentIsNet | SegmentSam
) -> Iterator[StageOutput]:
    images = [item.load() for item in inputs]
    masks = (
        _run_isnet(images, parameters)
        if isinstance(parameters, SegmentIsNet)
        else _run_sam(images, parameters)
    )
    masks = [
        mask if isinstance(mask, StageOutput) else _clean(image, *mask, parameters)
        for image, mask in zip(images, masks, strict=True)
    ]
    if parameters.refine is not None:
        masks = _refine(images, masks, parameters.refine)
    for image, mask in zip(images, masks, strict=True):
        if isinstance(mask, StageOutput):
            yield mask
        else:
            yield _check_quality(pixels.rgb(image), mask[0], parameters, mask[1])


def _run_isnet(images: Sequence[Pixels], parameters: SegmentIsNet) -> list[Found]:
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer
    from models.segmentation.isnet import Isnet, IsnetRequest

    requests = [IsnetRequest(pixels.rgb(image), parameters.min_confidence) for image in images]
    return [
        StageOutput(reject_reason=result.reason)
        if isinstance(result, InvalidOutput)
        else (result, {})
        for result in infer(Isnet, [parameters.checkpoint], requests)
    ]


def _run_sam(images: Sequence[Pixels], parameters: SegmentSam) -> list[Found]:
    from models.runtime.network_pool import infer
    from models.segmentation.segment_anything import (
        SamRequest,
        SegmentAnything,
        box_around,
        salient_mask,
    )

    found: dict[int, Found] = {}
    requests: dict[int, SamRequest] = {}
    for number, image in enumerate(images):
        colours, previous = pixels.rgb(image), pixels.carried_matte(image)
        try:
            if previous is None or not (previous > 0.5).any():
                previous = salient_mask(colours)
            requests[number] = SamRequest(colours, box_around(previous), previous_mask=previous)
        except NoObjectError as error:
            found[number] = StageOutput(reject_reason=str(error))
    results = infer(SegmentAnything, [parameters.checkpoint], list(requests.values()))
    for number, result in zip(requests, results, strict=True):
        found[number] = _read_sam_result(result, parameters)
    return [found[number] for number in range(len(images))]


def _read_sam_result(result: Any, parameters: SegmentSam) -> Found:
    from models.runtime.batching import InvalidOutput

    if isinstance(result, InvalidOutput):
        return StageOutput(reject_reason=result.reason)
    metadata = {"predicted_iou": round(result.predicted_iou, 4)}
    if result.predicted_iou < parameters.min_confidence:
        reason = f"no object found (predicted IoU {result.predicted_iou:.2f})"
        return StageOutput(reject_reason=reason, metadata=metadata)
    return result.alpha, metadata


def _clean(
    image: Pixels, alpha: Alpha, metadata: dict[str, float], parameters: SegmentIsNet | SegmentSam
) -> Found:
    """The mask without holes and small parts, or a rejection if it differs from the previous."""
    alpha = clean_mask(alpha, fill_holes=parameters.fill_holes, keep_parts=parameters.keep_parts)
    previous = pixels.carried_matte(image)
    if previous is None:
        return alpha, metadata
    iou = mask_iou(alpha, previous)
    metadata = {**metadata, "previous_iou": round(iou, 4)}
    if iou < parameters.min_previous_iou:
        reason = f"mask disagrees with the previous mask (IoU {iou:.2f})"
        return StageOutput(reject_reason=reason, metadata=metadata)
    return alpha, metadata


def _refine(
    images: Sequence[Pixels], masks: Sequence[Found], refine: VitMatteRefine
) -> list[Found]:
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer
    from models.segmentation.vitmatte import VitMatte, VitMatteRequest

    requests = [
        VitMatteRequest(pixels.rgb(image), mask[0], refine.band)
        for image, mask in zip(images, masks, strict=True)
        if not isinstance(mask, StageOutput)
    ]
    results = iter(infer(VitMatte, [refine.checkpoint], requests))
    refined: list[Found] = []
    for mask in masks:
        if isinstance(mask, StageOutput):
            refined.append(mask)
            continue
        result = next(results)
        is_invalid = isinstance(result, InvalidOutput)
        refined.append(
            StageOutput(reject_reason=result.reason) if is_invalid else (result, mask[1])
        )
    return refined


def _check_quality(
    colours: Pixels, alpha: Alpha, parameters: Segment, metadata: Mapping[str, float]
) -> StageOutput:
    quality = measure_mask(colours, alpha)
    figures = {name: round(float(value), 4) for name, value in asdict(quality).items()}
    figures.update(metadata)
    if quality.compactness < parameters.min_compactness:
        reason = f"mask frayed ({quality.compactness:.2f})"
        return StageOutput(reject_reason=reason, metadata=figures)
    if quality.score < parameters.min_score:
        reason = f"mask uncertain (score {quality.score:.2f})"
        return StageOutput(reject_reason=reason, metadata=figures)
    return StageOutput(pixels.with_matte(colours, alpha), metadata=figures)
