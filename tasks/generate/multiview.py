"""Multiview: six new views of the object and the original (the study: Zero123++ v1.2).

The classical model cuts the object out, inflates its matte to a relief and turns that. Zero123++
paints all six views at once, on a sheet that is one sample: they agree with each other. Each view
is a square image, object on grey, with the object's matte as fourth channel. View 0 is the photo
itself, cropped square around the object, with its own background.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from models.data import pixels
from models.data.records import Artifact, Checkpoint, Of, Record
from models.segmentation.grabcut import estimate_foreground, segment_object
from models.segmentation.saliency import NoObjectError
from models.views.cameras import ZERO123_VIEWS
from models.views.relief import crop_square, render_views
from tasks.engine.stage import Job, StageInput, StageOutput, params_per_item, stage

# Divisible by the pieces of a photo for nearly every number of views, so that a batch splits no
# photo: the network would paint its sheet twice.
BATCH = 84


class Multiview(Record):
    """Which views are made, and how large."""

    model: Literal["relief", "zero123plus"] = Field(
        "relief",
        description="relief: the matte inflated and turned; zero123plus: the diffusion network "
        "Zero123++.",
    )
    size: int = Field(320, ge=64, le=2048, description="Side of a square view, px.")
    views: int = Field(6, ge=0, le=6, description="New views beside the original.")
    checkpoint: Annotated[Checkpoint, Of("zero123plus")] = Field(
        "sudo-ai/zero123plus-v1.2", description="Weights; v1.1 has other elevations than v1.2."
    )
    version: Annotated[Literal["auto", "v1.1", "v1.2"], Of("zero123plus")] = Field(
        "auto",
        description="Whose elevations the views have; auto: as the checkpoint's id says, v1.2 "
        "where it says nothing.",
    )
    steps: Annotated[int, Of("zero123plus")] = Field(
        28, ge=1, le=1000, description="Denoising steps; 75 for faces and fine detail."
    )
    guidance_scale: Annotated[float, Of("zero123plus")] = Field(
        4.0, ge=1, le=20, description="Weight of the photo against no photo; 1: no guidance."
    )
    spacing: Annotated[Literal["trailing", "linspace"], Of("zero123plus")] = Field(
        "trailing",
        description="How steps lie in the training's 1000. The published file says linspace, its "
        "authors use trailing.",
    )
    remove_background: Annotated[bool, Of("zero123plus")] = Field(
        True,
        description="Show the network the object cut out on grey; else the photo's own square "
        "crop, background and all.",
    )
    painted: Annotated[int, Of("zero123plus")] = Field(
        320,
        ge=64,
        le=640,
        multiple_of=8,
        description="Side at which the network paints a view, px; it was trained at 320.",
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        return (self.checkpoint,) if self.model == "zero123plus" else ()


def original_and_views(parameters: Multiview, photos: Sequence[Artifact]) -> list[Job]:
    """Per photo, view 0 (the original) and the new views 1 to ``views``."""
    return [
        Job((photo,), {"view": view}) for photo in photos for view in range(parameters.views + 1)
    ]


@stage(
    "multiview", version=2, plan=original_and_views, batch_size=BATCH, key_params=params_per_item
)
def multiview(inputs: Sequence[StageInput], parameters: Multiview) -> Iterator[StageOutput]:
    """Square RGB + matte views; a photo in which no object is found is rejected."""
    make = _painted if parameters.model == "zero123plus" else _turned
    return make(inputs, parameters)


def _turned(inputs: Sequence[StageInput], parameters: Multiview) -> Iterator[StageOutput]:
    cut_outs: dict[str, pixels.Pixels | str] = {}
    for item in inputs:
        cut_out = _cut_out_once(item, cut_outs)
        if isinstance(cut_out, str):
            yield StageOutput(reject_reason=cut_out)
        else:
            yield _view(cut_out, _number(item), parameters.size)


def _painted(inputs: Sequence[StageInput], parameters: Multiview) -> Iterator[StageOutput]:
    cut_outs: dict[str, pixels.Pixels | str] = {}
    for item in inputs:
        _cut_out_once(item, cut_outs)
    turned = {_photo(item) for item in inputs if _number(item) > 0}
    found = {
        photo: cut_out
        for photo, cut_out in cut_outs.items()
        if photo in turned and not isinstance(cut_out, str)
    }
    sheets = _sheets(found, parameters)
    for item in inputs:
        cut_out = cut_outs[_photo(item)]
        if isinstance(cut_out, str):
            yield StageOutput(reject_reason=cut_out)
        elif _number(item) == 0:
            yield _view(cut_out, 0, parameters.size)
        else:
            yield _painted_view(sheets[_photo(item)], item, parameters)


def _sheets(cut_outs: Mapping[str, pixels.Pixels], parameters: Multiview) -> dict[str, Any]:
    """The network's answer for each photo: its six views, or why it has none."""
    from models.runtime.network_pool import infer
    from models.views.zero123plus.network import Zero123Plus, Zero123PlusRequest

    requests = [
        Zero123PlusRequest(
            _shown(cut_out, parameters),
            seed=_sheet_seed(photo),
            steps=parameters.steps,
            guidance_scale=parameters.guidance_scale,
            spacing=parameters.spacing,
            width=2 * parameters.painted,
            height=3 * parameters.painted,
        )
        for photo, cut_out in cut_outs.items()
    ]
    answers = infer(Zero123Plus, parameters.checkpoints, requests)
    return dict(zip(cut_outs, answers, strict=True))


def _shown(cut_out: pixels.Pixels, parameters: Multiview) -> pixels.Pixels:
    """What the network gets to see: a square RGB image, at most twice the 512 px that it reads."""
    from models.views.zero123plus.background import center_on_square, paste_on_grey

    if not parameters.remove_background:
        return pixels.rgb(crop_square(cut_out, size=512))
    centred = pixels.fit_within(center_on_square(cut_out), 1024)
    alpha = pixels.matte(centred)
    return paste_on_grey(pixels.with_matte(estimate_foreground(pixels.rgb(centred), alpha), alpha))


def _sheet_seed(photo: str) -> int:
    """Seeded by the photo and not by the view: views of two runs must be of the same sheet."""
    return int(photo[:16], 16) >> 1


def _painted_view(sheet: Any, item: StageInput, parameters: Multiview) -> StageOutput:
    from models.runtime.batching import InvalidOutput
    from models.views.zero123plus.background import resize_view, segment_view
    from models.views.zero123plus.network import CAMERAS

    if isinstance(sheet, InvalidOutput):
        return StageOutput(reject_reason=sheet.reason)
    view = _number(item)
    camera = CAMERAS[_version(parameters)][view - 1]
    metadata = {
        "azimuth": camera.azimuth,
        "elevation": camera.elevation,
        "sheet_seed": _sheet_seed(_photo(item)),
    }
    colours = sheet[view - 1]
    try:
        alpha = segment_view(colours)
    except NoObjectError as reason:
        return StageOutput(reject_reason=str(reason), metadata=metadata)
    return StageOutput(
        resize_view(pixels.with_matte(colours, alpha), parameters.size), metadata=metadata
    )


def _version(parameters: Multiview) -> Literal["v1.1", "v1.2"]:
    if parameters.version != "auto":
        return parameters.version
    return "v1.1" if "v1.1" in parameters.checkpoint.partition("@")[0] else "v1.2"


def _photo(item: StageInput) -> str:
    return item.job.inputs[0].digest


def _number(item: StageInput) -> int:
    return int(item.job.variant["view"])


def _cut_out_once(item: StageInput, done: dict[str, pixels.Pixels | str]) -> pixels.Pixels | str:
    photo = _photo(item)
    if photo not in done:
        done[photo] = _cut_out(item.load())
    return done[photo]


def _cut_out(image: pixels.Pixels) -> pixels.Pixels | str:
    try:
        cut_out = pixels.with_matte(image, segment_object(pixels.rgb(image)))
    except NoObjectError as reason:
        return str(reason)
    return cut_out if (cut_out[..., 3] >= 128).any() else "no object found: its matte is empty"


def _view(cut_out: pixels.Pixels, view: int, size: int) -> StageOutput:
    if view == 0:
        return StageOutput(
            crop_square(cut_out, size=size), metadata={"azimuth": 0.0, "elevation": 0.0}
        )
    camera = ZERO123_VIEWS[view - 1]
    turned = render_views(cut_out, [camera], size=size)[0]
    return StageOutput(turned, metadata={"azimuth": camera.azimuth, "elevation": camera.elevation})
