"""Outpaint: the scene shifted over a grid, its new border filled (the study: SD2 inpainting)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from models.captioning.template import class_words
from models.data.objects import shift_objects
from models.data.pixels import Pixels
from models.data.records import Artifact, Checkpoint, Record
from models.outpainting.extend_scene import ExtendedScene, grid_offsets
from tasks.engine.planning_run import Cost
from tasks.engine.stage import Job, StageInput, StageOutput, stage

if TYPE_CHECKING:
    from models.outpainting.sd2 import OutpaintRequest


class _Outpaint(Record):
    """What both models share: the grid of shifts."""

    grid_size: int = Field(
        2, ge=1, le=9, description="Shifts per axis (k); k x k images per scene."
    )
    max_shift: float = Field(0.12, ge=0, le=0.4, description="Farthest shift, share of the canvas.")


class OutpaintExtend(_Outpaint):
    """Extension of the scene, without a network."""

    model: Literal["extend"] = Field("extend", description="the scene without object, extended.")


class OutpaintSd2(_Outpaint):
    """Stable Diffusion 2 inpainting, the study's network."""

    model: Literal["sd2-inpaint"] = Field(
        "sd2-inpaint",
        description="Stable Diffusion 2 inpainting; shifts are rounded to 8 px.",
    )
    checkpoint: Checkpoint = Field(
        "sd2-community/stable-diffusion-2-inpainting",
        description="Inpainting network of Stable Diffusion 1 or 2, with 9 input channels.",
    )
    vae: Checkpoint | None = Field(
        None,
        description="Asymmetric VAE that uses the known pixels when it decodes, such as "
        "cross-attention/asymmetric-autoencoder-kl-x-2, whose card states no licence; none: the "
        "checkpoint's own.",
    )
    safety_checker: Checkpoint | None = Field(
        None,
        description="Weights that find images not safe for work, such as "
        "CompVis/stable-diffusion-safety-checker; none: Stable Diffusion 2 has none of its own.",
    )
    nsfw_retries: int = Field(
        3, ge=0, le=20, description="How often a flagged image is generated again."
    )
    steps: int = Field(25, ge=2, le=200, description="Steps of the Euler ancestral sampler.")
    guidance_scale: float = Field(
        7.5, ge=1, le=30, description="How strictly the prompt is followed; 1: no guidance."
    )
    feather: int = Field(
        16, ge=0, le=64, description="Px of the scene that fade into the border; others are exact."
    )
    prompt_from: Literal["scene", "caption"] = Field(
        "scene",
        description="scene: the border's prompt names the scene, and its negative prompt the "
        "class. caption: the scene's whole prompt without weights, which may add a second object.",
    )
    prompt: str = Field(
        "an empty background {scene}",
        description="Prompt of the border with {scene}, such as 'on grass', in plain words: this "
        "model knows no weights.",
    )
    negative_prompt: str = Field(
        "frame, border, text, watermark, blurry", description="What no border should show."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        optional = (self.vae, self.safety_checker)
        return self.checkpoint, *(checkpoint for checkpoint in optional if checkpoint)

    @model_validator(mode="after")
    def _refuse_sdxl(self) -> Self:
        """SDXL would accept the asymmetric VAE in silence, and decode other latents with it."""
        if _is_xl(self.checkpoint):
            raise ValueError(
                f"checkpoint {self.checkpoint} is of SDXL; sd2-inpaint and the asymmetric VAE "
                "need the latents of Stable Diffusion 1 or 2"
            )
        return self


Outpaint = Annotated[OutpaintExtend | OutpaintSd2, Field(discriminator="model")]


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
    version=1,
    plan=shifts_of_each,
    batch_size=16,
    cost=Cost(ms=6, ms_per_mp=47, mb_per_mp=1.4, tflop={"sd2-inpaint": (0, 214)}),
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


def _is_xl(checkpoint: str) -> bool:
    name = checkpoint.partition("@")[0].lower()
    return "sdxl" in name or "-xl" in name or "_xl" in name
