"""Baseline: the photo drawn anew by SDXL, to compare the pipeline with (the study: image to image).

No step between photo and image knows where the object is, so the images carry no matte.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from models.data.pixels import Pixels, resize, rgb
from models.data.records import Artifact, Checkpoint, Of, Record
from models.diffusion.prompts import Part, to_compel, weighted_prompt
from tasks.engine.stage import Job, StageInput, StageOutput, params_per_item, stage

GRID = 64


class ImageToImage(Record):
    """How many images are drawn from a photo, and how far from it."""

    model: Literal["sdxl-img2img"] = Field(
        "sdxl-img2img", description="Noise is added to the photo and taken away under its caption."
    )
    copies: int = Field(2, ge=1, le=1024, description="Images per photo.")
    longest_side: int = Field(
        1024, ge=64, le=4096, description="Longer side of an image, px; rounded to 64."
    )
    checkpoint: Annotated[Checkpoint, Of("sdxl-img2img")] = Field(
        "stabilityai/stable-diffusion-xl-base-1.0", description="Weights of SDXL."
    )
    vae: Annotated[Checkpoint, Of("sdxl-img2img")] = Field(
        "madebyollin/sdxl-vae-fp16-fix", description="Weights of the encoder and decoder."
    )
    safety_checker: Annotated[Checkpoint | None, Of("sdxl-img2img")] = Field(
        None,
        description="Weights that find images not safe for work, such as "
        "CompVis/stable-diffusion-safety-checker; none: SDXL has none of its own.",
    )
    nsfw_retries: Annotated[int, Of("sdxl-img2img")] = Field(
        3, ge=0, le=20, description="How often an image that was found not safe is drawn anew."
    )
    strength: Annotated[float, Of("sdxl-img2img")] = Field(
        0.5, ge=0.05, le=1, description="How far from the photo; at 1 nothing of it is left."
    )
    steps: Annotated[int, Of("sdxl-img2img")] = Field(
        30, ge=20, le=200, description="Denoising steps of a whole way; strength says the share."
    )
    scheduler: Annotated[Literal["unipc", "dpm++", "euler", "ddim"], Of("sdxl-img2img")] = Field(
        "euler", description="Sampler."
    )
    guidance_scale: Annotated[float, Of("sdxl-img2img")] = Field(
        5.0, ge=0, le=30, description="How strictly the prompt is followed; 1 or less: loosely."
    )
    suffix: Annotated[str, Of("sdxl-img2img")] = Field(
        "", description="What the prompt ends with, after the caption."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, self.vae, *checker


def copies_of_each(
    parameters: ImageToImage, photos: Sequence[Artifact], captions: Sequence[Artifact]
) -> list[Job]:
    """Per photo that has a caption, images 0 to n - 1."""
    caption_of = {caption.name: caption for caption in captions}
    return [
        Job((photo, caption_of[photo.name]), {"baseline": copy})
        for photo in photos
        if photo.name in caption_of
        for copy in range(parameters.copies)
    ]


@stage("baseline", version=2, plan=copies_of_each, batch_size=8, key_params=params_per_item)
def image_to_image(inputs: Sequence[StageInput], parameters: ImageToImage) -> Iterator[StageOutput]:
    """RGB images without matte, in the photo's shape up to a crop to whole cells of 64 px."""
    from models.diffusion.sdxl.image_to_image import SdxlImg2Img, SdxlImg2ImgRequest
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    requests = []
    for item in inputs:
        words = item.load(1)
        suffix = Part(to_compel(parameters.suffix))
        requests.append(
            SdxlImg2ImgRequest(
                image=fit_to_grid(rgb(item.load(0)), parameters.longest_side),
                prompt=weighted_prompt(Part(words["prompt"]), suffix),
                negative=to_compel(words["negative_prompt"]),
                seed=item.seed,
                strength=parameters.strength,
                steps=parameters.steps,
                guidance_scale=parameters.guidance_scale,
                scheduler=parameters.scheduler,
                nsfw_retries=parameters.nsfw_retries,
            )
        )
    results = infer(SdxlImg2Img, parameters.checkpoints, requests)
    for request, result in zip(requests, results, strict=True):
        metadata = {"negative": request.negative, "retries": result.retries}
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason, prompt=request.prompt, metadata=metadata)
        else:
            yield StageOutput(result.image, prompt=request.prompt, metadata=metadata)


def fit_to_grid(image: Pixels, longest_side: int) -> Pixels:
    """An image scaled to cover whole cells of 64 px nearest to its shape, its middle cut out.

    Args:
        image: uint8 HxWx3.
        longest_side: of the result in px, rounded to cells.
    """
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    high, wide = (max(1, round(side * scale / GRID)) * GRID for side in (height, width))
    cover = max(high / height, wide / width)
    new = (max(wide, round(width * cover)), max(high, round(height * cover)))
    large = resize(image, *new, scale=cover)
    top, left = (new[1] - high) // 2, (new[0] - wide) // 2
    return np.ascontiguousarray(large[top : top + high, left : left + wide])
