"""Placement picture: a scene with its real and new boxes, before anything is painted."""

from collections.abc import Iterator, Sequence

from models.data.pixels import encode_jpeg, rgb
from models.data.records import Artifact, SourceImage
from models.placement.region import region_of
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.placing import PlacementPicture

_QUALITY = 88


def one_per_placement(
    _parameters: PlacementPicture,
    scenes: Sequence[SourceImage],
    placements: Sequence[Artifact],
    regions: Sequence[Artifact] = (),
) -> list[Job]:
    """A job per placement, with its scene and the mask of the scene's region, if it has one."""
    image_of = {scene.name: scene.image for scene in scenes}
    region_by_id = {region.id: region for region in regions}
    jobs = []
    for placement in placements:
        region = [region_by_id[parent] for parent in placement.parents if parent in region_by_id]
        variant = {name: placement.variant[name] for name in ("label", "place")}
        inputs = (image_of[placement.name], placement, *region)
        jobs.append(Job(inputs, variant, placement.name))
    return jobs


@stage(
    "placement_picture",
    version=1,
    media="jpg",
    plan=one_per_placement,
    cost=Cost(ms=60, mb_per_mp=0.3),
    shown_as="where new objects go",
)
def placement_picture(
    inputs: Sequence[StageInput], parameters: PlacementPicture
) -> Iterator[StageOutput]:
    """RGB JPEGs with a legend; scores stand above boxes in relevant context."""
    from models.placement.picture import draw_picture

    for item in inputs:
        scene, placement = rgb(item.load()), item.load(1)
        mask = item.load(2) if len(item.job.inputs) > 2 else None
        height, width = scene.shape[:2]
        picture = draw_picture(
            scene,
            [tuple(entry["box"]) for entry in placement["objects"]],
            [(tuple(entry["box"]), entry["score"]) for entry in placement["placed"]],
            str(item.job.variant["label"]),
            region_of(parameters.region, mask, width, height),
            parameters.longest_side,
        )
        yield StageOutput(encode_jpeg(picture, _QUALITY))
