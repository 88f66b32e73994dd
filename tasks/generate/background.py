"""Background: the object in c new scenes (the study: SDXL with a depth ControlNet).

The classical model composites the cut-out on a plate: a photo from the user's folder of plates, or
a procedural surface that the prompt names. Colours are harmonised, a shadow grounds it, the seam
blends. The diffusion model draws object and scene anew from the caption and the object's depth; the
matte says where the depth was.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from models.captioning.template import with_class
from models.compositing.backgrounds.photo import background_from_photo
from models.compositing.backgrounds.scene import procedural_background, scene_from_prompt
from models.compositing.composite import CompositeSettings, composite
from models.compositing.placement import PlacedObject, keep_original_pixels, place_object
from models.data.pixels import Pixels, rgb
from models.data.records import Artifact, Checkpoint, Of, Record
from models.diffusion.prompts import Part, escape, to_compel, weighted_prompt, without_weights
from tasks.engine.stage import Job, StageInput, StageOutput, pairing_key, params_per_item, stage

GRID = 64


class CompositeRanges(Record):
    """How large the object is, where it may be, and how far it is adapted to its scene."""

    smallest: float = Field(
        0.5, gt=0, le=2, description="Object's longer side at least, share of the shorter side."
    )
    largest: float = Field(
        0.9, gt=0, le=2, description="Object's longer side at most, share of the shorter side."
    )
    margin: float = Field(
        0.06, ge=0, le=0.4, description="Space kept free at each border, share of the side."
    )
    tilt: float = Field(
        12.0, ge=0, le=180, description="Rotation at most where it lies flat, degrees either way."
    )
    harmony: float = Field(
        0.5, ge=0, le=1, description="How far colours move to the scene's; 0 leaves them."
    )
    shadow: float = Field(0.7, ge=0, le=1, description="Darkness of the shadow; 0 casts none.")

    def settings(self) -> CompositeSettings:
        """The same values as `models.compositing` names them."""
        return CompositeSettings(
            smallest=self.smallest,
            largest=self.largest,
            margin=self.margin,
            max_rotation=self.tilt,
            colour_matching=self.harmony,
            shadow=self.shadow,
        )


class Background(Record):
    """How many scenes, how large, and what stands behind the object."""

    model: Literal["composite", "sdxl-controlnet-depth"] = Field(
        "composite",
        description="composite: the cut-out pasted on a plate. sdxl-controlnet-depth: object and "
        "scene drawn anew from the caption and the object's depth.",
    )
    copies: int = Field(2, ge=1, le=64, description="Scenes per augmented view (c).")
    width: int = Field(768, ge=64, le=4096, description="Width of a scene, px.")
    height: int = Field(1024, ge=64, le=4096, description="Height of a scene, px.")
    scenes: tuple[str, ...] = Field(
        (), description="Endings of the prompt to choose from, such as 'on grass'."
    )
    from_above: Annotated[float | None, Of("composite")] = Field(
        None, ge=0, le=1, description="Chance of a flat ground seen from above; none: by the scene."
    )
    ranges: CompositeRanges = Field(default_factory=CompositeRanges, description="Size and light.")
    checkpoint: Annotated[Checkpoint, Of("sdxl-controlnet-depth")] = Field(
        "stabilityai/stable-diffusion-xl-base-1.0", description="Weights of SDXL."
    )
    controlnet: Annotated[Checkpoint, Of("sdxl-controlnet-depth")] = Field(
        "diffusers/controlnet-depth-sdxl-1.0-small",
        description="Weights that make it follow the depth.",
    )
    vae: Annotated[Checkpoint, Of("sdxl-controlnet-depth")] = Field(
        "madebyollin/sdxl-vae-fp16-fix", description="Weights of the decoder."
    )
    safety_checker: Annotated[Checkpoint | None, Of("sdxl-controlnet-depth")] = Field(
        None,
        description="Weights that find images not safe for work, such as "
        "CompVis/stable-diffusion-safety-checker; none: SDXL has none of its own.",
    )
    nsfw_retries: Annotated[int, Of("sdxl-controlnet-depth")] = Field(
        3, ge=0, le=20, description="How often an image that was found not safe is drawn anew."
    )
    scheduler: Annotated[
        Literal["unipc", "dpm++", "euler", "ddim"], Of("sdxl-controlnet-depth")
    ] = Field("unipc", description="Sampler.")
    steps: Annotated[int, Of("sdxl-controlnet-depth")] = Field(
        30, ge=1, le=200, description="Denoising steps."
    )
    guidance_scale: Annotated[float, Of("sdxl-controlnet-depth")] = Field(
        5.0, ge=0, le=30, description="How strictly the prompt is followed; 1 or less: loosely."
    )
    control_scale: Annotated[float, Of("sdxl-controlnet-depth")] = Field(
        1.0,
        ge=0,
        le=2,
        description="How strictly the depth is followed; low: the matte may no longer fit.",
    )
    control_end: Annotated[float, Of("sdxl-controlnet-depth")] = Field(
        1.0, ge=0, le=1, description="Share of the steps in which the depth is followed."
    )
    few_step: Annotated[Literal[4, 8] | None, Of("sdxl-controlnet-depth")] = Field(
        None,
        description="Steps of a distilled network, in place of steps, scheduler and "
        "guidance_scale: several times as fast, less varied.",
    )
    few_step_checkpoint: Annotated[Checkpoint, Of("sdxl-controlnet-depth")] = Field(
        "ByteDance/SDXL-Lightning", description="Weights of the distilled network."
    )
    caption_weight: Annotated[float, Of("sdxl-controlnet-depth")] = Field(
        1.0, ge=0, le=2, description="How much the caption counts in the prompt."
    )
    prompt: Annotated[str, Of("sdxl-controlnet-depth")] = Field(
        "",
        description="Part of every prompt, after the caption. Knows {label} and {a}, its article; "
        "may hold weights, as (sharp:1.3) or (sharp)1.3.",
    )
    prompt_weight: Annotated[float, Of("sdxl-controlnet-depth")] = Field(
        1.0, ge=0, le=2, description="How much that part counts."
    )
    suffix: Annotated[str, Of("sdxl-controlnet-depth")] = Field(
        "highly detailed photo", description="What the prompt ends with, after the scene."
    )
    suffix_weight: Annotated[float, Of("sdxl-controlnet-depth")] = Field(
        1.0, ge=0, le=2, description="How much scene and suffix count in the prompt."
    )
    negative_weight: Annotated[float, Of("sdxl-controlnet-depth")] = Field(
        1.0, ge=0, le=2, description="How much the caption stage's negative prompt counts."
    )
    paste_back: Annotated[bool, Of("sdxl-controlnet-depth")] = Field(
        False, description="Set the photo's own object over the drawn one: keeps logos and writing."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        if self.model == "composite":
            return ()
        few_step = (self.few_step_checkpoint,) if self.few_step else ()
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, self.controlnet, self.vae, *few_step, *checker


def scenes_of_each(
    parameters: Background,
    cut_outs: Sequence[Artifact],
    depths: Sequence[Artifact],
    captions: Sequence[Artifact],
    plates: Sequence[Artifact],
) -> list[Job]:
    """Per cut-out, scenes 0 to c - 1, each with its own plate where there are plates."""
    depth_of = {pairing_key(depth): depth for depth in depths}
    jobs = []
    for cut_out in cut_outs:
        depth = depth_of.get(pairing_key(cut_out))
        if depth is None:
            continue
        behind = _drawn_plates(cut_out, plates, parameters.copies)
        for copy in range(parameters.copies):
            inputs = (cut_out, depth, *captions, *behind[copy : copy + 1])
            jobs.append(Job(inputs, {"background": copy}))
    return jobs


@stage("background", version=2, plan=scenes_of_each, batch_size=8, key_params=params_per_item)
def background(inputs: Sequence[StageInput], parameters: Background) -> Iterator[StageOutput]:
    """Scenes at the output size, RGB + the object's matte, with the prompt that describes them."""
    drawn = {"composite": _composited, "sdxl-controlnet-depth": _drawn_by_sdxl}
    yield from drawn[parameters.model](inputs, parameters)


def _composited(inputs: Sequence[StageInput], parameters: Background) -> Iterator[StageOutput]:
    size = (parameters.width, parameters.height)
    for item in inputs:
        rng = item.rng()
        sentence = item.load(2)["caption"]
        scene = without_weights(_ending(parameters, sentence, rng))
        if len(item.job.inputs) > 3:
            empty = background_from_photo(item.load(3), size, rng)
        else:
            empty = procedural_background(
                scene_from_prompt(scene, rng),
                size,
                rng,
                top_view_probability=parameters.from_above,
            )
        depth = item.load(1).astype(np.float32) / 65535.0
        settings = parameters.ranges.settings()
        image = composite(item.load(0), empty, size, rng, depth=depth, settings=settings)
        prompt = sentence if scene in sentence else f"{sentence} {scene}"
        yield StageOutput(image, prompt=prompt, metadata={"scene": scene})


def _drawn_by_sdxl(inputs: Sequence[StageInput], parameters: Background) -> Iterator[StageOutput]:
    from models.diffusion.sdxl.depth_controlnet import SdxlBackground, SdxlBackgroundRequest
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    placed, prompts, scenes, requests = [], [], [], []
    for item in inputs:
        rng, words = item.rng(), item.load(2)
        scenes.append(_ending(parameters, words["caption"], rng))
        size = (parameters.width, parameters.height)
        limits = parameters.ranges.settings()
        placed.append(place_object(item.load(0), item.load(1), size, rng, limits))
        prompts.append(_prompts(parameters, words, scenes[-1]))
        depth = _on_grid(placed[-1])
        requests.append(
            SdxlBackgroundRequest(
                depth=depth,
                prompt=prompts[-1][0],
                negative=prompts[-1][1],
                seed=item.seed,
                width=depth.shape[1],
                height=depth.shape[0],
                steps=parameters.few_step or parameters.steps,
                guidance_scale=0.0 if parameters.few_step else parameters.guidance_scale,
                control_scale=parameters.control_scale,
                control_end=parameters.control_end,
                scheduler=parameters.scheduler,
                few_step=parameters.few_step is not None,
                nsfw_retries=parameters.nsfw_retries,
            )
        )
    results = infer(SdxlBackground, parameters.checkpoints, requests)
    for result, there, (prompt, negative), scene in zip(
        results, placed, prompts, scenes, strict=True
    ):
        metadata = {
            "scene": without_weights(scene),
            "negative": negative,
            "plain_prompt": without_weights(prompt),
            "retries": result.retries,
        }
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason, prompt=prompt, metadata=metadata)
            continue
        image = _cut_to(result.image, there)
        image = keep_original_pixels(image, there) if parameters.paste_back else image
        content = np.dstack([rgb(image), there.rgba[..., 3]])
        yield StageOutput(content, prompt=prompt, metadata=metadata)


def _prompts(parameters: Background, words: dict[str, str], scene: str) -> tuple[str, str]:
    """The prompt and the negative one, in Compel's syntax. What the recipe says may hold weights of
    its own."""
    said = words["caption"]
    ending = [one for one in (scene, parameters.suffix) if one and one not in said]
    parts = (
        Part(words["prompt"], parameters.caption_weight),
        Part(_of_class(parameters.prompt, words["label"]), parameters.prompt_weight),
        Part(to_compel(", ".join(ending)), parameters.suffix_weight),
    )
    negative = Part(to_compel(words["negative_prompt"]), parameters.negative_weight)
    return weighted_prompt(*parts), weighted_prompt(negative)


def _of_class(prompt: str, name: str) -> str:
    return with_class(to_compel(prompt), escape(name))


def _on_grid(placed: PlacedObject) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """The depth with as much empty space around it as SDXL's grid of 64 px wants."""
    height, width = placed.depth.shape
    wide, high = -width % GRID, -height % GRID
    around = (high // 2, high - high // 2), (wide // 2, wide - wide // 2)
    return np.pad(placed.depth, around)


def _cut_to(image: Pixels, placed: PlacedObject) -> Pixels:
    """The middle of a drawn image, without what `_on_grid` put around it."""
    height, width = placed.depth.shape
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _ending(parameters: Background, sentence: str, rng: np.random.Generator) -> str:
    if parameters.scenes:
        return parameters.scenes[int(rng.integers(len(parameters.scenes)))]
    return scene_from_prompt(sentence, rng)


def _drawn_plates(cut_out: Artifact, plates: Sequence[Artifact], copies: int) -> Sequence[Artifact]:
    """Different plates for the scenes of one cut-out, drawn by rendezvous hashing: a plate added to
    the folder changes only the scenes that now draw it."""

    def rank(plate: Artifact) -> bytes:
        return hashlib.sha256(f"{cut_out.digest}{plate.digest}".encode()).digest()

    ranked = sorted(plates, key=rank)
    return [ranked[copy % len(ranked)] for copy in range(copies)] if ranked else []
