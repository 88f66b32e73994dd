"""Repaint: new objects, painted into real scenes by the network that was fitted to their class.

Px that are not painted keep their values, so that images are PNG files.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from models.data.objects import PixelBox
from models.data.pixels import Matrix, Pixels, rgb
from models.data.records import Artifact, Box, SourceImage
from models.placement.describe import describe_scene, new_object, with_sources
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.generate.repainting.inputs import (
    PICKER,
    SIZES,
    SQUARES,
    WEIGHTS,
    draw_artifacts,
    shape_of,
    weights_of,
)
from tasks.settings.repaint import RepaintOn

if TYPE_CHECKING:
    from models.diffusion.ddpm.repaint.scenes import Painted, PaintedScene, Painter

STAGE = "repaint"
# Trillion operations of the published network for an image, forward.
_TFLOP = 2.24
# CPU milliseconds per megapixel of a small network, forward.
_MS_PER_MP = 7_000.0


def one_per_placement(
    parameters: RepaintOn,
    scenes: Sequence[SourceImage],
    placements: Sequence[Artifact],
    learned: Sequence[Artifact],
    squares: Sequence[Artifact],
    teachers: Sequence[str],
) -> list[Job]:
    """A job per placement: its scene, the placement, the weights, and squares to follow.

    Args:
        scenes: all scenes with placements.
        placements: of stage ``place_objects``, for one class.
        learned: weights and cherry-picker of the class.
        squares: of the class; some are drawn for each scene.
        teachers: names of the photos that the weights were learned from.
    """
    scene_of = {scene.name: scene for scene in scenes}
    follows = squares if parameters.condition != "none" else ()
    jobs = []
    for placement in placements:
        described = with_sources(scene_of[placement.name], teachers)
        bank = draw_artifacts(follows, parameters.bank, described.digest + placement.digest)
        variant = {name: placement.variant[name] for name in ("label", "place")}
        jobs.append(Job((described, placement, *learned, *bank), variant, placement.name))
    return jobs


@stage(
    STAGE,
    version=1,
    plan=one_per_placement,
    batch_size=4,
    uses_gpu=True,
    cost=Cost(
        ms=50,
        mb_per_mp=1.6,
        cpu_ms=lambda parameters: (
            parameters.passes * parameters.objects * parameters.size**2 / 1e6 * _MS_PER_MP
        ),
        tflop={"adm-256": (_TFLOP, 0)},
        repeats=lambda parameters: parameters.passes * parameters.objects,
    ),
    shown_as="scenes with painted objects",
)
def repaint(inputs: Sequence[StageInput], parameters: RepaintOn) -> Iterator[StageOutput]:
    """RGB images, uint8, of the size of their scenes.

    ``metadata``: ``objects``, the real ones of the scene and the new ones, with label, box, mask,
    ``source`` and ``is_new``, new ones with the ``scores`` of their candidates and the index that
    was ``chosen``; ``sources``, the scene and the photos that taught the network; ``counted_as``,
    the class that was painted; ``left_out``, why boxes got no object. A scene without any new
    object is rejected.
    """
    from models.diffusion.ddpm.repaint.scenes import paint_scenes

    run, scenes = inputs[0].run, [_scene(item) for item in inputs]
    paint_scenes(scenes, _painter(inputs[0], parameters), parameters, run.check_cancelled)
    for item, scene in zip(inputs, scenes, strict=True):
        yield _output(item, scene)


def _scene(item: StageInput) -> "PaintedScene":
    from models.diffusion.ddpm.repaint.scenes import PaintedScene

    placement = item.load(1)
    return PaintedScene(
        rgb(item.load()).copy(),
        [_whole(entry["box"]) for entry in placement["placed"]],
        [_box(entry["box"]) for entry in placement["objects"]],
        item.seed,
        [shape_of(item.run, artifact) for artifact in item.job.inputs if artifact.stage in SQUARES],
    )


def _painter(item: StageInput, parameters: RepaintOn) -> "Painter":
    """The network of all jobs of a batch: they are of one class."""
    from models.diffusion.ddpm.generator import Ddpm, RepaintRequest
    from models.diffusion.ddpm.repaint.scenes import Painter
    from models.embedding.backbone import embed
    from models.runtime.network_pool import infer
    from models.screening.cherry_picker import CherryPicker
    from models.segmentation.painted_object import find_painted_object

    networks = [artifact for artifact in item.job.inputs if artifact.stage in WEIGHTS]
    weights = weights_of(item.run, parameters, networks)
    pickers = [artifact for artifact in item.job.inputs if artifact.stage == PICKER]
    picker = CherryPicker.model_validate(item.run.load(pickers[0])) if pickers else None

    def paint(requests: Sequence[RepaintRequest]) -> list["Painted"]:
        return infer(Ddpm, weights, requests)

    def score(squares: Sequence[Pixels]) -> Matrix:
        assert picker is not None
        return picker.scores(embed(squares))

    return Painter(
        paint=paint,
        size=parameters.size,
        context=parameters.context,
        condition=parameters.condition,
        guided=any(artifact.stage == SIZES for artifact in networks),
        score=None if picker is None else score,
        least_score=parameters.least_score,
        find_mask=find_painted_object,
    )


def _output(item: StageInput, scene: "PaintedScene") -> StageOutput:
    photo, label = item.job.inputs[0], str(item.job.variant["label"])
    left_out = {str(index): reason for index, reason in sorted(scene.left_out.items())}
    if not scene.objects:
        reasons = "; ".join(dict.fromkeys(left_out.values()))
        return StageOutput(reject_reason=f"nothing was painted: {reasons}")
    new = [
        new_object(
            label,
            made.box,
            made.mask,
            made.follows or photo.name,
            placed=list(scene.boxes[index]),
            scores=list(made.scores),
            chosen=made.chosen,
        )
        for index, made in sorted(scene.objects.items())
    ]
    described = describe_scene(photo, label, item.load(1), new, photo.metadata["sources"])
    return StageOutput(scene.pixels, metadata={**described, "left_out": left_out})


def _box(sides: Sequence[float]) -> Box:
    return sides[0], sides[1], sides[2], sides[3]


def _whole(sides: Sequence[int]) -> PixelBox:
    return sides[0], sides[1], sides[2], sides[3]
