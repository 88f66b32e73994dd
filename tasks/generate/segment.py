"""Segment: the object's mask in each augmented image (the study: IS-Net).

No model changes the mask that a cut-out carries. Any other alpha is the previous mask: GrabCut
decides its uncertain band, Segment Anything searches in its box, and masks may have to agree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from models.data import pixels
from models.data.pixels import Alpha, Pixels
from models.data.records import Artifact
from models.segmentation.cleanup import clean_mask
from models.segmentation.grabcut import segment_object
from models.segmentation.mask_quality import measure_mask
from models.segmentation.masks import mask_iou
from models.segmentation.saliency import NoObjectError
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.segment import (
    MASK_OF_PHOTO,
    Segment,
    SegmentGrabCut,
    SegmentIsNet,
    SegmentSam,
    VitMatteRefine,
)

# A mask, or the reason why there is none; and its metadata.
Found = tuple[Alpha | str, dict[str, float]]


def with_known_masks(_parameters: Segment, images: Sequence[Artifact]) -> list[Job]:
    """A job per image; its variant says whether the photo's own alpha is its mask."""
    return [Job((image,), dict(image.variant.items() & MASK_OF_PHOTO.items())) for image in images]


@stage(
    "segment",
    version=2,
    plan=with_known_masks,
    cost=Cost(ms=58, ms_per_mp=40, mb_per_mp=1.0, tflop={"isnet": (0.32, 0), "sam": (0.97, 0)}),
    shown_as="the object, cut out",
)
def segment(inputs: Sequence[StageInput], parameters: Segment) -> Iterator[StageOutput]:
    """RGB + alpha, uint8; an image in which no object is found is rejected with that reason."""
    known = {i.key: _keep_mask(i.load()) for i in inputs if i.job.variant == MASK_OF_PHOTO}
    others = [item for item in inputs if known.get(item.key) is None]
    run: Any = _run_grabcut if isinstance(parameters, SegmentGrabCut) else _run_network
    found = iter(run(others, parameters) if others else ())
    for item in inputs:
        yield known.get(item.key) or next(found)


def _keep_mask(image: Pixels) -> StageOutput | None:
    """The image with the mask that its photo carries; None if it has lost its alpha."""
    if image.shape[2] == 3:
        return None
    if not (image[..., 3] >= 128).any():
        return StageOutput(reject_reason="no object found: its mask is empty")
    return StageOutput(image, metadata=MASK_OF_PHOTO)


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
    run: Any = _run_isnet if isinstance(parameters, SegmentIsNet) else _run_sam
    masks: list[Found] = [
        _clean(image, mask, metadata, parameters)
        for image, (mask, metadata) in zip(images, run(images, parameters), strict=True)
    ]
    if parameters.refine is not None:
        masks = _refine(images, masks, parameters.refine)
    for image, (mask, metadata) in zip(images, masks, strict=True):
        if isinstance(mask, str):
            yield StageOutput(reject_reason=mask, metadata=metadata)
        else:
            yield _check_quality(pixels.rgb(image), mask, parameters, metadata)


def _run_isnet(images: Sequence[Pixels], parameters: SegmentIsNet) -> list[Found]:
    from models.runtime.network_pool import infer
    from models.segmentation.isnet import Isnet, IsnetRequest

    requests = [IsnetRequest(pixels.rgb(image), parameters.min_confidence) for image in images]
    results = infer(Isnet, [parameters.checkpoint], requests)
    return [(_mask_or_reason(result), {}) for result in results]


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
            found[number] = str(error), {}
    results = infer(SegmentAnything, [parameters.checkpoint], list(requests.values()))
    for number, result in zip(requests, results, strict=True):
        found[number] = _read_sam_result(result, parameters)
    return [found[number] for number in range(len(images))]


def _read_sam_result(result: Any, parameters: SegmentSam) -> Found:
    from models.runtime.batching import InvalidOutput

    if isinstance(result, InvalidOutput):
        return result.reason, {}
    metadata = {"predicted_iou": round(result.predicted_iou, 4)}
    if result.predicted_iou < parameters.min_confidence:
        return f"no object found (predicted IoU {result.predicted_iou:.2f})", metadata
    return result.alpha, metadata


def _clean(
    image: Pixels,
    mask: Alpha | str,
    metadata: dict[str, float],
    parameters: SegmentIsNet | SegmentSam,
) -> Found:
    """The mask without holes and small parts, or a rejection if it differs from the previous."""
    if isinstance(mask, str):
        return mask, metadata
    alpha = clean_mask(mask, fill_holes=parameters.fill_holes, keep_parts=parameters.keep_parts)
    previous = pixels.carried_matte(image)
    if previous is None:
        return alpha, metadata
    iou = mask_iou(alpha, previous)
    metadata = {**metadata, "previous_iou": round(iou, 4)}
    if iou < parameters.min_previous_iou:
        return f"mask disagrees with the previous mask (IoU {iou:.2f})", metadata
    return alpha, metadata


def _refine(
    images: Sequence[Pixels], masks: Sequence[Found], refine: VitMatteRefine
) -> list[Found]:
    from models.runtime.network_pool import infer
    from models.segmentation.vitmatte import VitMatte, VitMatteRequest

    requests = {
        number: VitMatteRequest(pixels.rgb(image), mask, refine.band)
        for number, (image, (mask, _)) in enumerate(zip(images, masks, strict=True))
        if not isinstance(mask, str)
    }
    refined = list(masks)
    results = infer(VitMatte, [refine.checkpoint], list(requests.values()))
    for number, result in zip(requests, results, strict=True):
        refined[number] = _mask_or_reason(result), masks[number][1]
    return refined


def _mask_or_reason(result: Any) -> Alpha | str:
    from models.runtime.batching import InvalidOutput

    return result.reason if isinstance(result, InvalidOutput) else result


def _check_quality(
    colours: Pixels, alpha: Alpha, parameters: Segment, metadata: Mapping[str, float]
) -> StageOutput:
    quality = measure_mask(colours, alpha)
    figures = {name: round(float(value), 4) for name, value in asdict(quality).items()}
    figures.update(metadata)
    reason = None
    if quality.compactness < parameters.min_compactness:
        reason = f"mask frayed ({quality.compactness:.2f})"
    elif quality.score < parameters.min_score:
        reason = f"mask uncertain (score {quality.score:.2f})"
    content = pixels.with_matte(colours, alpha) if reason is None else None
    return StageOutput(content, metadata=figures, reject_reason=reason)
