"""Inpaint: new objects, painted into real scenes after a prompt by a published network.

Px that are not painted keep their values, so that images are PNG files.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from models.data.pixels import rgb
from models.data.records import Artifact, SourceImage
from models.diffusion.prompts import without_weights
from models.placement.describe import describe_scene, new_object, with_sources
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.inpaint import InpaintSd15, InpaintSd15In, InpaintSdxlIn

if TYPE_CHECKING:
    from models.diffusion.inpaint.scenes import PromptedScene

# Trillion operations of a step with and without the prompt, at the size of the training.
_TFLOP = {"sd15-inpaint": (1.66, 0.0), "sdxl-inpaint": (13.5, 0.0)}


def one_per_placement(
    parameters: InpaintSd15In | InpaintSdxlIn,
    scenes: Sequence[SourceImage],
    placements: Sequence[Artifact],
    teachers: Sequence[str],
) -> list[Job]:
    """A job per placement, with its scene and its prompts.

    Args:
        scenes: all scenes with placements.
        placements: of stage ``place_objects``, for one class.
        teachers: names of the photos that sizes and places were learned from.
    """
    scene_of = {scene.name: scene for scene in scenes}
    jobs = []
    for placement in placements:
        described = with_sources(scene_of[placement.name], teachers)
        label, place = str(placement.variant["label"]), placement.variant["place"]
        texts = parameters.texts_of(label, f"{placement.name}/{place}")
        variant = {"label": label, "place": place, **texts}
        jobs.append(Job((described, placement), variant, placement.name))
    return jobs


@stage(
    "inpaint",
    version=1,
    plan=one_per_placement,
    batch_size=4,
    cost=Cost(
        ms=50,
        mb_per_mp=1.6,
        tflop=_TFLOP,
        repeats=lambda parameters: parameters.steps * parameters.objects,
    ),
    shown_as="scenes with objects painted after a prompt",
)
def inpaint(
    inputs: Sequence[StageInput], parameters: InpaintSd15In | InpaintSdxlIn
) -> Iterator[StageOutput]:
    """RGB images, uint8, of the size of their scenes.

    ``metadata``: ``objects``, the real ones of the scene and the new ones, with label, box, mask,
    ``source`` and ``is_new``; ``sources``, the scene and the photos that sizes were learned from;
    ``counted_as``, the class that was painted; ``left_out``, why boxes got no object. A scene
    without any new object is rejected.
    """
    from models.diffusion.inpaint.scenes import fill_scenes
    from models.runtime.network_pool import infer
    from models.segmentation.painted_object import find_painted_object

    is_sd15 = isinstance(parameters, InpaintSd15)
    scenes = [_scene(item, parameters, is_sd15) for item in inputs]
    fill_scenes(
        scenes,
        lambda requests: infer(_network(is_sd15), parameters.checkpoints, requests),
        find_painted_object if parameters.find_mask else None,
        parameters,
        inputs[0].run.check_cancelled,
    )
    for item, scene in zip(inputs, scenes, strict=True):
        yield _output(item, scene)


def _network(is_sd15: bool) -> Any:
    if is_sd15:
        from models.diffusion.sd15.inpaint import Sd15Inpaint

        return Sd15Inpaint
    from models.diffusion.sdxl.inpaint import SdxlInpaint

    return SdxlInpaint


def _scene(
    item: StageInput, parameters: InpaintSd15In | InpaintSdxlIn, is_sd15: bool
) -> "PromptedScene":
    from models.diffusion.inpaint.scenes import PromptedScene

    placement = item.load(1)
    texts = [str(item.job.variant[name]) for name in ("prompt", "negative_prompt")]
    # Stable Diffusion 1.5 reads brackets and signs as text.
    prompt, negative = map(without_weights, texts) if is_sd15 else texts
    return PromptedScene(
        pixels=rgb(item.load()).copy(),
        boxes=[tuple(entry["box"]) for entry in placement["placed"]],
        occupied=[tuple(entry["box"]) for entry in placement["objects"]],
        seed=item.seed,
        prompt=prompt,
        negative=negative,
        scheduler=parameters.scheduler,
        nsfw_retries=parameters.nsfw_retries,
    )


def _output(item: StageInput, scene: "PromptedScene") -> StageOutput:
    left_out = {str(index): reason for index, reason in sorted(scene.left_out.items())}
    if not scene.objects:
        reasons = "; ".join(dict.fromkeys(left_out.values()))
        return StageOutput(reject_reason=f"nothing was painted: {reasons}", prompt=scene.prompt)
    photo, label = item.job.inputs[0], str(item.job.variant["label"])
    new = [
        new_object(label, made.box, made.mask, photo.name, placed=list(scene.boxes[index]))
        for index, made in sorted(scene.objects.items())
    ]
    described = describe_scene(photo, label, item.load(1), new, photo.metadata["sources"])
    metadata = {**described, "left_out": left_out, "negative": scene.negative}
    return StageOutput(scene.pixels, prompt=scene.prompt, metadata=metadata)
