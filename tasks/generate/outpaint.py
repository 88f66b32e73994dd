"""Outpaint: the scene shifted over a k x k grid, its revealed border filled (the study: SD2
inpainting).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from models.captioning.template import class_words
from models.data.pixels import Pixels
from models.data.records import Artifact, Checkpoint, Of, Record
from models.outpainting.extend_scene import ExtendedScene, grid_offsets
from tasks.engine.stage import Job, StageInput, StageOutput, stage

if TYPE_CHECKING:
    from models.outpainting.sd2 import OutpaintRequest


class Outpaint(Record):
    """The grid of shifts, and what fills the border that comes into view."""

    model: Literal["extend", "sd2-inpaint"] = Field(
        "extend",
        description="extend: the object-free scene, extended. sd2-inpaint: Stable Diffusion 2 "
        "inpainting; shifts are rounded to 8 px.",
    )
    k: int = Field(2, ge=1, le=9, description="Shifts per axis; k x k images per scene.")
    reach: float = Field(0.12, ge=0, le=0.4, description="Farthest shift, share of the canvas.")
    checkpoint: Annotated[Checkpoint, Of("sd2-inpaint")] = Field(
        "sd2-community/stable-diffusion-2-inpainting",
        description="Inpainting network of Stable Diffusion 1 or 2, with 9 input channels.",
    )
    vae: Annotated[Checkpoint | None, Of("sd2-inpaint")] = Field(
        None,
        description="Asymmetric VAE that decodes beside the known pixels, such as "
        "cross-attention/asymmetric-autoencoder-kl-x-2, whose card states no licence; none: the "
        "checkpoint's own.",
    )
    safety_checker: Annotated[Checkpoint | None, Of("sd2-inpaint")] = Field(
        None,
        description="Weights that find images not safe for work, such as "
        "CompVis/stable-diffusion-safety-checker; none: Stable Diffusion 2 has none of its own.",
    )
    nsfw_retries: Annotated[int, Of("sd2-inpaint")] = Field(
        3, ge=0, le=20, description="How often an image that was found not safe is drawn anew."
    )
    steps: Annotated[int, Of("sd2-inpaint")] = Field(
        25, ge=2, le=200, description="Steps of the Euler ancestral sampler."
    )
    guidance_scale: Annotated[float, Of("sd2-inpaint")] = Field(
        7.5, ge=1, le=30, description="How much the border heeds its prompt; 1: as it comes."
    )
    feather: Annotated[int, Of("sd2-inpaint")] = Field(
        16, ge=0, le=64, description="Px of the scene that fade into the border; others are exact."
    )
    prompt_from: Annotated[Literal["scene", "caption"], Of("sd2-inpaint")] = Field(
        "scene",
        description="scene: the border's prompt is where the scene plays, and the class is kept "
        "out of it. caption: the scene's whole prompt, less its weights, which may draw a second "
        "object.",
    )
    prompt: Annotated[str, Of("sd2-inpaint")] = Field(
        "an empty background {scene}",
        description="Prompt of the border with {scene}, such as 'on grass', in plain words: this "
        "model knows no weights.",
    )
    negative_prompt: Annotated[str, Of("sd2-inpaint")] = Field(
        "frame, border, text, watermark, blurry", description="What no border should show."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        if self.model == "extend":
            return ()
        beside = (self.vae, self.safety_checker)
        return self.checkpoint, *(one for one in beside if one)

    @model_validator(mode="after")
    def _of_one_latent_space(self) -> Self:
        """SDXL would take the asymmetric VAE without a word, and decode other latents with it."""
        if self.model == "sd2-inpaint" and _is_xl(self.checkpoint):
            raise ValueError(
                f"checkpoint {self.checkpoint} is of SDXL; sd2-inpaint and the asymmetric VAE "
                "want the latents of Stable Diffusion 1 or 2"
            )
        return self


def shifts_of_each(parameters: Outpaint, scenes: Sequence[Artifact], label: str) -> list[Job]:
    """Per scene, shifts 0 to k x k - 1, row by row. A network's job is keyed by its prompts too,
    which the scene's pixels don't tell."""
    jobs = []
    for scene in scenes:
        said: dict[str, int | str] = {}
        if parameters.model != "extend":
            said = dict(
                zip(("border", "avoided"), border_prompts(scene, label, parameters), strict=True)
            )
        jobs += [Job((scene,), {"shift": shift, **said}) for shift in range(parameters.k**2)]
    return jobs


@stage("outpaint", version=1, plan=shifts_of_each, batch_size=16)
def outpaint(inputs: Sequence[StageInput], parameters: Outpaint) -> Iterator[StageOutput]:
    """Shifted scenes of the same size, RGB + matte; what is prepared of a scene serves all of its
    shifts."""
    make = _by_extension if parameters.model == "extend" else _by_network
    return make(inputs, parameters)


def _by_extension(inputs: Sequence[StageInput], parameters: Outpaint) -> Iterator[StageOutput]:
    offsets = grid_offsets(parameters.k, parameters.reach)
    prepared: tuple[str, ExtendedScene] | None = None
    for item in inputs:
        scene = item.job.inputs[0]
        if prepared is None or prepared[0] != scene.digest:
            # Seeded by the scene and not by the shift: its shifts must agree on what lies outside.
            rng = np.random.default_rng(int(scene.digest[:16], 16))
            prepared = scene.digest, ExtendedScene(item.load(), parameters.reach, rng)
        dx, dy = offsets[int(item.job.variant["shift"])]
        image = prepared[1].shift(dx, dy)
        yield StageOutput(
            image, prompt=scene.prompt, metadata={"dx": round(dx, 4), "dy": round(dy, 4)}
        )


def _by_network(inputs: Sequence[StageInput], parameters: Outpaint) -> Iterator[StageOutput]:
    from models.outpainting.latent_canvas import seam_step
    from models.outpainting.sd2 import SD2Outpaint
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    offsets = grid_offsets(parameters.k, parameters.reach)
    requests = _requests(inputs, parameters, offsets)
    results = infer(SD2Outpaint, parameters.checkpoints, requests)
    for item, request, result in zip(inputs, requests, results, strict=True):
        dx, dy = offsets[int(item.job.variant["shift"])]
        metadata: dict[str, Any] = {
            **{"dx": round(dx, 4), "dy": round(dy, 4), "moved": list(request.offset)},
            "retries": result.retries,
        }
        prompt = item.job.inputs[0].prompt
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason, prompt=prompt, metadata=metadata)
            continue
        seam = round(seam_step(result.image, request.shift), 3)
        yield StageOutput(result.image, prompt=prompt, metadata={**metadata, "seam": seam})


def _requests(
    inputs: Sequence[StageInput], parameters: Outpaint, offsets: Sequence[tuple[float, float]]
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
                offset=round_to_cells(offset, parameters.reach, pixels),
                prompt=str(item.job.variant["border"]),
                negative_prompt=str(item.job.variant["avoided"]),
                seed=item.seed,
                steps=parameters.steps,
                guidance_scale=parameters.guidance_scale,
                feather=parameters.feather,
                nsfw_retries=parameters.nsfw_retries,
            )
        )
    return requests


def border_prompts(scene: Artifact, label: str, parameters: Outpaint) -> tuple[str, str]:
    """The prompt and the negative prompt of a scene's border, in plain words: CLIP reads them as
    they are, brackets, signs and all.

    A prompt that names the class would draw another one into the border; so by default only the
    place is named, and the class is what the border should not show.
    """
    if parameters.prompt_from == "caption" and scene.prompt:
        return str(scene.metadata.get("plain_prompt", scene.prompt)), parameters.negative_prompt
    place = str(scene.metadata.get("scene", ""))
    words = class_words(label)
    prompt = " ".join(parameters.prompt.replace("{scene}", place).split())
    return prompt, ", ".join(part for part in (words, parameters.negative_prompt) if part)


def _is_xl(checkpoint: str) -> bool:
    name = checkpoint.partition("@")[0].lower()
    return "sdxl" in name or "-xl" in name or "_xl" in name
