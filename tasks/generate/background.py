"""Background: the object in c new scenes (the study: SDXL with a depth ControlNet).

The classical model composites the object onto a background image: one of the user's photos, or a
procedural surface that the prompt names. It matches colours, casts a shadow and blends the seam.
SDXL generates object and scene from the caption and the object's depth.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from models.captioning.template import with_class
from models.compositing.backgrounds.photo import background_from_photo
from models.compositing.backgrounds.scene import procedural_background, scene_from_prompt
from models.compositing.composite import composite
from models.compositing.placement import PlacedObject, keep_original_pixels, place_object
from models.data.pixels import Pixels, rgb
from models.data.records import Artifact
from models.diffusion.prompts import Part, escape, to_compel, weighted_prompt, without_weights
from tasks.engine.jobs import Job, StageInput, StageOutput, pairing_key
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.background import Background, BackgroundComposite, BackgroundSdxl

GRID = 64


def scenes_of_each(
    parameters: Background,
    cut_outs: Sequence[Artifact],
    depths: Sequence[Artifact],
    captions: Sequence[Artifact],
    photos: Sequence[Artifact],
) -> list[Job]:
    """Per cut-out, scenes 0 to c - 1, each on its own background photo if there are any."""
    depth_of = {pairing_key(depth): depth for depth in depths}
    jobs = []
    for cut_out in cut_outs:
        depth = depth_of.get(pairing_key(cut_out))
        if depth is None:
            continue
        chosen = _choose_photos(cut_out, photos, parameters.n_backgrounds)
        for number in range(parameters.n_backgrounds):
            inputs = (cut_out, depth, *captions, *chosen[number : number + 1])
            jobs.append(Job(inputs, {"background": number}))
    return jobs


@stage(
    "background",
    version=3,
    plan=scenes_of_each,
    batch_size=8,
    cost=Cost(
        ms=30,
        ms_per_mp=90,
        mb_per_mp=1.4,
        megapixels=lambda parameters, _: parameters.width * parameters.height / 1e6,
        tflop={"sdxl-controlnet-depth": (0, 417)},
    ),
    shown_as="new scenes, the mask outlined",
)
def background(inputs: Sequence[StageInput], parameters: Background) -> Iterator[StageOutput]:
    """Scenes at the output size, RGB + the object's alpha, with the prompt of each."""
    if isinstance(parameters, BackgroundComposite):
        return _composite(inputs, parameters)
    return _run_sdxl(inputs, parameters)


def _composite(
    inputs: Sequence[StageInput], parameters: BackgroundComposite
) -> Iterator[StageOutput]:
    size = (parameters.width, parameters.height)
    for item in inputs:
        rng = item.rng()
        sentence = item.load(2)["caption"]
        scene = without_weights(_choose_scene(parameters, sentence, rng))
        if len(item.job.inputs) > 3:
            empty = background_from_photo(item.load(3), size, rng)
        else:
            empty = procedural_background(
                scene_from_prompt(scene, rng),
                size,
                rng,
                top_view_probability=parameters.top_view_probability,
            )
        settings = parameters.ranges
        image = composite(item.load(0), empty, size, rng, depth=item.load(1), settings=settings)
        prompt = sentence if scene in sentence else f"{sentence} {scene}"
        yield StageOutput(image, prompt=prompt, metadata={"scene": scene})


def _run_sdxl(inputs: Sequence[StageInput], parameters: BackgroundSdxl) -> Iterator[StageOutput]:
    from models.diffusion.sdxl.depth_controlnet import SdxlBackground, SdxlBackgroundRequest
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    few_step = parameters.few_step
    placed_objects, scenes, requests = [], [], []
    for item in inputs:
        rng, words = item.rng(), item.load(2)
        scenes.append(_choose_scene(parameters, words["caption"], rng))
        size = (parameters.width, parameters.height)
        limits = parameters.ranges
        placed_objects.append(place_object(item.load(0), item.load(1), size, rng, limits))
        prompt, negative = _prompts(parameters, words, scenes[-1])
        depth = _pad_to_grid(placed_objects[-1])
        requests.append(
            SdxlBackgroundRequest(
                depth=depth,
                prompt=prompt,
                negative=negative,
                seed=item.seed,
                width=depth.shape[1],
                height=depth.shape[0],
                steps=few_step.steps if few_step else parameters.steps,
                guidance_scale=0.0 if few_step else parameters.guidance_scale,
                control_scale=parameters.control_scale,
                control_end=parameters.control_end,
                scheduler=parameters.scheduler,
                few_step=few_step is not None,
                nsfw_retries=parameters.nsfw_retries,
            )
        )
    results = infer(SdxlBackground, parameters.checkpoints, requests)
    for result, placed, request, scene in zip(
        results, placed_objects, requests, scenes, strict=True
    ):
        metadata = {
            "scene": without_weights(scene),
            "negative": request.negative,
            "plain_prompt": without_weights(request.prompt),
            "retries": result.retries,
        }
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason, prompt=request.prompt, metadata=metadata)
            continue
        image = _crop_padding(result.image, placed)
        if parameters.keep_original_pixels:
            image = keep_original_pixels(image, placed)
        content = np.dstack([rgb(image), placed.rgba[..., 3]])
        yield StageOutput(content, prompt=request.prompt, metadata=metadata)


def _prompts(parameters: BackgroundSdxl, words: dict[str, str], scene: str) -> tuple[str, str]:
    """The prompt and the negative prompt in Compel's syntax.

    Texts of the recipe may hold weights of their own.
    """
    ending = [part for part in (scene, parameters.suffix) if part and part not in words["caption"]]
    own = with_class(to_compel(parameters.prompt), escape(words["label"]))
    parts = (
        Part(words["prompt"], parameters.caption_weight),
        Part(own, parameters.prompt_weight),
        Part(to_compel(", ".join(ending)), parameters.suffix_weight),
    )
    negative = Part(to_compel(words["negative_prompt"]), parameters.negative_weight)
    return weighted_prompt(*parts), weighted_prompt(negative)


def _pad_to_grid(placed: PlacedObject) -> npt.NDArray[np.uint16]:
    """The depth with empty space around it, up to a multiple of SDXL's grid of 64 px."""
    height, width = placed.depth.shape
    rows, columns = -height % GRID, -width % GRID
    return np.pad(
        placed.depth, ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
    )


def _crop_padding(image: Pixels, placed: PlacedObject) -> Pixels:
    """The middle of a generated image, without what `_pad_to_grid` added."""
    height, width = placed.depth.shape
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _choose_scene(parameters: Background, sentence: str, rng: np.random.Generator) -> str:
    if parameters.scenes:
        return parameters.scenes[int(rng.integers(len(parameters.scenes)))]
    return scene_from_prompt(sentence, rng)


def _choose_photos(cut_out: Artifact, photos: Sequence[Artifact], count: int) -> Sequence[Artifact]:
    """Different photos for the scenes of one cut-out, drawn by rendezvous hashing.

    A photo added to the folder changes only the scenes that now draw it.
    """

    def rank(photo: Artifact) -> bytes:
        return hashlib.sha256(f"{cut_out.digest}{photo.digest}".encode()).digest()

    ranked = sorted(photos, key=rank)
    return [ranked[number % len(ranked)] for number in range(count)] if ranked else []
