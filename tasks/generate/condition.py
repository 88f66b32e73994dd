"""Condition: what a ControlNet follows, made of a photo: its edges, or a map of its masks."""

from collections.abc import Iterator, Sequence
from typing import Any

from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import encode_mask
from models.data.objects import ImageObject
from models.data.pixels import Pixels, rgb
from models.data.records import Artifact
from models.data.trimaps import as_trimap, solid_mask
from models.diffusion.conditions import colour_map, edge_map
from models.diffusion.grid import fit_mask_to_grid, fit_to_grid
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.controlnet import ColourMap, Condition, Edges


def one_per_photo(
    parameters: Condition, photos: Sequence[Artifact], masks: Sequence[Artifact], label: str
) -> list[Job]:
    """A job per photo; for a map also with the masks of its objects, which are of one class."""
    if isinstance(parameters, Edges):
        return [Job((photo,)) for photo in photos]
    return [Job((photo, *masks), {"label": label}) for photo in photos]


@stage(
    "condition",
    version=1,
    plan=one_per_photo,
    cost=Cost(
        ms=2,
        ms_per_mp=20,
        mb_per_mp=0.1,
        # Of a photo with sides of 3 : 4.
        megapixels=lambda parameters, _: parameters.longest_side**2 * 0.75 / 1e6,
    ),
    shown_as="what the network follows",
)
def condition(inputs: Sequence[StageInput], parameters: Condition) -> Iterator[StageOutput]:
    """RGB pictures, uint8, in the photo's shape up to a crop to whole cells of 64 px.

    The metadata of a map lists the ``objects``: label, box and mask.
    """
    for item in inputs:
        if isinstance(parameters, Edges):
            photo = fit_to_grid(rgb(item.load()), parameters.longest_side)
            yield StageOutput(edge_map(photo, parameters.low, parameters.high))
        else:
            yield _draw_map(item, parameters)


def _draw_map(item: StageInput, parameters: ColourMap) -> StageOutput:
    found = [as_trimap(mask) for mask in _masks_of(item)]
    trimaps = [fit_mask_to_grid(trimap, parameters.longest_side) for trimap in found]
    objects = [_object(str(item.job.variant["label"]), trimap) for trimap in trimaps]
    visible: list[Any] = [entry for entry in objects if entry["box"] is not None]
    if not visible:
        return StageOutput(reject_reason="no object found: it has no mask, or none within the crop")
    painted = colour_map(
        trimaps,
        parameters.object_colour,
        parameters.border_colour,
        parameters.background_colour,
    )
    return StageOutput(painted, metadata={"objects": visible})


def _masks_of(item: StageInput) -> list[Pixels]:
    """The masks of the photo's objects; the alpha of a cut-out where there are none."""
    masks = [item.load(position) for position in range(1, len(item.job.inputs))]
    photo = item.load()
    return masks or ([photo[..., 3]] if photo.shape[2] == 4 else [])


def _object(label: str, trimap: Pixels) -> ImageObject:
    mask = solid_mask(trimap)
    box = box_of_mask(mask)
    return {"label": label, "box": None if box is None else list(box), "mask": encode_mask(mask)}
