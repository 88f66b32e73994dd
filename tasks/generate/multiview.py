"""Multiview: six new views of the object and the original (the study: Zero123++ v1.2).

The classical model cuts the object out, inflates its mask to a relief and turns that. Zero123++
paints all six views on one sheet, so that they agree with each other. Each view is a square image
of the object on grey, with the object's alpha. View 0 is the photo itself, cropped square around
the object, with its own background.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from models.data import pixels
from models.data.pixels import Pixels
from models.data.records import Artifact
from models.segmentation.grabcut import segment_object
from models.segmentation.masks import estimate_foreground
from models.segmentation.saliency import NoObjectError
from models.views.cameras import ZERO123_VIEWS
from models.views.relief import crop_square, render_views
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.multiview import Multiview, MultiviewRelief, MultiviewZero123Plus
from tasks.settings.segment import MASK_OF_PHOTO

# A multiple of 2, 3, 4, 6 and 7 views, so that a batch rarely splits the views of a photo: for a
# split photo the network would paint its sheet twice.
BATCH = 84


# Per photo, by its digest: the photo with the object's alpha, or why there is no object.
CutOuts = dict[str, Pixels | str]


def original_and_views(parameters: Multiview, photos: Sequence[Artifact]) -> list[Job]:
    """Per photo, view 0 (the original) and the new views 1 to `views`.

    A view that a network paints has no longer the mask that a cut-out carries.
    """
    is_painted = not isinstance(parameters, MultiviewRelief)
    jobs = []
    for photo in photos:
        jobs.append(Job((photo,), {"view": 0}))
        lost = {name: "found" for name in photo.variant.keys() & MASK_OF_PHOTO if is_painted}
        jobs += [Job((photo,), {"view": view, **lost}) for view in range(1, parameters.views + 1)]
    return jobs


@stage(
    "multiview",
    version=3,
    plan=original_and_views,
    batch_size=BATCH,
    cost=Cost(
        ms=25,
        ms_per_mp=400,
        mb_per_mp=0.9,
        megapixels=lambda parameters, _: parameters.size**2 / 1e6,
        tflop={"zero123plus": (28, 0)},
    ),
    shown_as="views; view 0 is the photo, cut square",
)
def multiview(inputs: Sequence[StageInput], parameters: Multiview) -> Iterator[StageOutput]:
    """Square views, RGB + alpha, uint8; a photo in which no object is found is rejected."""
    cut_outs: CutOuts = {}
    for item in inputs:
        if _photo(item) not in cut_outs:
            cut_outs[_photo(item)] = _cut_out(item.load())
    if isinstance(parameters, MultiviewRelief):
        new_views = _turn_relief(inputs, cut_outs, parameters)
    else:
        new_views = _run_zero123plus(inputs, cut_outs, parameters)
    for item in inputs:
        cut_out = cut_outs[_photo(item)]
        if isinstance(cut_out, str):
            yield StageOutput(reject_reason=cut_out)
        elif _view(item) == 0:
            angles = {"azimuth": 0.0, "elevation": 0.0}
            yield StageOutput(crop_square(cut_out, size=parameters.size), metadata=angles)
        else:
            yield next(new_views)


def _turn_relief(
    inputs: Sequence[StageInput], cut_outs: CutOuts, parameters: MultiviewRelief
) -> Iterator[StageOutput]:
    for item in inputs:
        cut_out = cut_outs[_photo(item)]
        if _view(item) > 0 and not isinstance(cut_out, str):
            camera = ZERO123_VIEWS[_view(item) - 1]
            turned = render_views(cut_out, [camera], size=parameters.size)[0]
            angles = {"azimuth": camera.azimuth, "elevation": camera.elevation}
            yield StageOutput(turned, metadata=angles)


def _run_zero123plus(
    inputs: Sequence[StageInput], cut_outs: CutOuts, parameters: MultiviewZero123Plus
) -> Iterator[StageOutput]:
    painted = {_photo(item) for item in inputs if _view(item) > 0}
    sheets = _paint_sheets(
        {
            photo: cut_out
            for photo, cut_out in cut_outs.items()
            if photo in painted and not isinstance(cut_out, str)
        },
        parameters,
    )
    for item in inputs:
        if _view(item) > 0 and _photo(item) in sheets:
            yield _take_from_sheet(sheets[_photo(item)], item, parameters)


def _paint_sheets(
    cut_outs: Mapping[str, Pixels], parameters: MultiviewZero123Plus
) -> dict[str, Any]:
    """Per photo the network's six views, uint8 6xSxSx3, or `InvalidOutput`."""
    from models.runtime.network_pool import infer
    from models.views.zero123plus.network import Zero123Plus, Zero123PlusRequest

    requests = [
        Zero123PlusRequest(
            _network_input(cut_out, parameters),
            seed=_sheet_seed(photo),
            steps=parameters.steps,
            guidance_scale=parameters.guidance_scale,
            spacing=parameters.spacing,
            width=2 * parameters.paint_size,
            height=3 * parameters.paint_size,
        )
        for photo, cut_out in cut_outs.items()
    ]
    sheets = infer(Zero123Plus, parameters.checkpoints, requests)
    return dict(zip(cut_outs, sheets, strict=True))


def _network_input(cut_out: Pixels, parameters: MultiviewZero123Plus) -> Pixels:
    """A square RGB image for the network, at most twice the 512 px that it reads."""
    from models.views.zero123plus.background import center_on_square, paste_on_grey

    if not parameters.remove_background:
        return pixels.rgb(crop_square(cut_out, size=512))
    centred = pixels.fit_within(center_on_square(cut_out), 1024)
    alpha = pixels.matte(centred)
    return paste_on_grey(pixels.with_matte(estimate_foreground(pixels.rgb(centred), alpha), alpha))


def _sheet_seed(photo: str) -> int:
    """Seeded by the photo and not by the view: views of two runs must be of the same sheet."""
    return int(photo[:16], 16) >> 1


def _take_from_sheet(sheet: Any, item: StageInput, parameters: MultiviewZero123Plus) -> StageOutput:
    from models.runtime.batching import InvalidOutput
    from models.views.zero123plus.background import resize_view, segment_view
    from models.views.zero123plus.network import CAMERAS

    if isinstance(sheet, InvalidOutput):
        return StageOutput(reject_reason=sheet.reason)
    camera = CAMERAS[_version(parameters)][_view(item) - 1]
    metadata = {
        "azimuth": camera.azimuth,
        "elevation": camera.elevation,
        "sheet_seed": _sheet_seed(_photo(item)),
    }
    colours = sheet[_view(item) - 1]
    try:
        alpha = segment_view(colours)
    except NoObjectError as error:
        return StageOutput(reject_reason=str(error), metadata=metadata)
    view = resize_view(pixels.with_matte(colours, alpha), parameters.size)
    return StageOutput(view, metadata=metadata)


def _version(parameters: MultiviewZero123Plus) -> Literal["v1.1", "v1.2"]:
    if parameters.version != "auto":
        return parameters.version
    return "v1.1" if "v1.1" in parameters.checkpoint.partition("@")[0] else "v1.2"


def _photo(item: StageInput) -> str:
    return item.job.inputs[0].digest


def _view(item: StageInput) -> int:
    return int(item.job.variant["view"])


def _cut_out(image: Pixels) -> Pixels | str:
    """The photo with the object's alpha, or why there is no object.

    An image that has an alpha is a cut-out, and keeps it.
    """
    if image.shape[2] == 4:
        return image if (image[..., 3] >= 128).any() else "no object found: its mask is empty"
    try:
        cut_out = pixels.with_matte(image, segment_object(pixels.rgb(image)))
    except NoObjectError as error:
        return str(error)
    return cut_out if (cut_out[..., 3] >= 128).any() else "no object found: its mask is empty"
