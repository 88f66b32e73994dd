"""Outpaint: the scene shifted over a grid, its new border filled (the study: SD2 inpainting)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.captioning.template import class_words
from models.data.objects import shift_objects
from models.data.pixels import Pixels
from models.data.records import Artifact
from models.outpainting.extend_scene import ExtendedScene, grid_offsets
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.outpaint import Outpaint, OutpaintExtend, OutpaintSd2

if TYPE_CHECKING:
    from models.outpainting.sd2 import OutpaintRequest


def shifts_of_each(parameters: Outpaint, scenes: Sequence[Artifact], label: str) -> list[Job]:
    """Per scene, shifts 0 to k x k - 1, row by row.

    A network's prompts are part of a job's key, since the scene's pixels don't determine them.
    """
    jobs = []
    for scene in scenes:
        prompts: dict[str, int | str] = {}
        if isinstance(parameters, OutpaintSd2):
            prompt, negative = border_prompts(scene, label, parameters)
            prompts = {"prompt": prompt, "negative_prompt": negative}
        shifts = range(parameters.grid_size**2)
        jobs += [Job((scene,), {"shift": shift, **prompts}) for shift in shifts]
    return jobs


@stage(
    "outpaint",
    version=2,
    plan=shifts_of_each,
    batch_size=16,
    cost=Cost(ms=4, ms_per_mp=25, mb_per_mp=1.4, tflop={"sd2-inpaint": (0, 214)}),
    shown_as="the scenes shifted over the grid",
)
def outpaint(inputs: Sequence[StageInput], parameters: Outpaint) -> Iterator[StageOutput]:
    """Shifted scenes of the same size, RGB + alpha, uint8.

    All shifts of a scene share what is prepared of it. Objects in the metadata move with it.
    """
    if isinstance(parameters, OutpaintExtend):
        return _extend(inputs, parameters)
    return _run_sd2(inputs, parameters)


def _extend(inputs: Sequence[StageInput], parameters: OutpaintExtend) -> Iterator[StageOutput]:
    offsets = grid_offsets(parameters.grid_size, parameters.max_shift)
    digest, extended = "", None
    for item in inputs:
        scene = item.job.inputs[0]
        if extended is None or digest != scene.digest:
            # Seeded by the scene and not by the shift: its shifts must show the same surroundings.
            rng = np.random.default_rng(int(scene.digest[:16], 16))
            digest, extended = scene.digest, ExtendedScene(item.load(), parameters.max_shift, rng)
        dx, dy = offsets[int(item.job.variant["shift"])]
        image = extended.shift(dx, dy)
        metadata: dict[str, Any] = {"dx": round(dx, 4), "dy": round(dy, 4)}
        metadata |= _moved_objects(scene, extended.offset(dx, dy), image)
        yield StageOutput(image, prompt=scene.prompt, metadata=metadata)


def _run_sd2(inputs: Sequence[StageInput], parameters: OutpaintSd2) -> Iterator[StageOutput]:
    from models.outpainting.latent_canvas import seam_step
    from models.outpainting.sd2 import SD2Outpaint
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    offsets = grid_offsets(parameters.grid_size, parameters.max_shift)
    requests = _requests(inputs, parameters, offsets)
    results = infer(SD2Outpaint, parameters.checkpoints, requests)
    for item, request, result in zip(inputs, requests, results, strict=True):
        scene = item.job.inputs[0]
        dx, dy = offsets[int(item.job.variant["shift"])]
        metadata: dict[str, Any] = {
            "dx": round(dx, 4),
            "dy": round(dy, 4),
            "moved": list(request.offset),
            "retries": result.retries,
        }
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason, prompt=scene.prompt, metadata=metadata)
            continue
        metadata["seam"] = round(seam_step(result.image, request.shift), 3)
        metadata |= _moved_objects(scene, request.offset, result.image)
        yield StageOutput(result.image, prompt=scene.prompt, metadata=metadata)


def _requests(
    inputs: Sequence[StageInput],
    parameters: OutpaintSd2,
    offsets: Sequence[tuple[float, float]],
) -> list["OutpaintRequest"]:
    from models.outpainting.latent_canvas import round_to_cells
    from models.outpainting.sd2 import OutpaintRequest

    scenes: dict[str, Pixels] = {}
    requests = []
    for item in inputs:
        scene = item.job.inputs[0]
        if scene.digest not in scenes:
            scenes[scene.digest] = item.load()
        pixels = scenes[scene.digest]
        offset = offsets[int(item.job.variant["shift"])]
        requests.append(
            OutpaintRequest(
                scene=pixels,
                offset=round_to_cells(offset, parameters.max_shift, pixels),
                prompt=str(item.job.variant["prompt"]),
                negative_prompt=str(item.job.variant["negative_prompt"]),
                seed=item.seed,
                steps=parameters.steps,
                guidance_scale=parameters.guidance_scale,
                feather=parameters.feather,
                nsfw_retries=parameters.nsfw_retries,
            )
        )
    return requests


def _moved_objects(scene: Artifact, offset: tuple[int, int], image: Pixels) -> dict[str, Any]:
    """The metadata entry of the scene's objects after a shift in px; empty if it lists none."""
    if "objects" not in scene.metadata:
        return {}
    height, width = image.shape[:2]
    return {"objects": shift_objects(scene.metadata["objects"], *offset, height, width)}


def border_prompts(scene: Artifact, label: str, parameters: OutpaintSd2) -> tuple[str, str]:
    """The prompt and the negative prompt of a scene's border, in plain words.

    CLIP reads brackets and signs as they are. A prompt that names the class would add another
    object in the border. So by default the prompt names the scene, and the negative prompt the
    class.
    """
    if parameters.prompt_from == "caption" and scene.prompt:
        return str(scene.metadata.get("plain_prompt", scene.prompt)), parameters.negative_prompt
    scene_words = str(scene.metadata.get("scene", ""))
    prompt = " ".join(parameters.prompt.replace("{scene}", scene_words).split())
    negative = (class_words(label), parameters.negative_prompt)
    return prompt, ", ".join(part for part in negative if part)
