"""Image to image: the photo generated again by SDXL (the study compares its pipeline with this).

No step between photo and image knows the object's mask, so the images have no alpha.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from models.data.pixels import rgb
from models.data.records import Artifact, Checkpoint, Record
from models.diffusion.grid import fit_to_grid
from models.diffusion.prompts import Part, to_compel, weighted_prompt
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.prompt_text import PlainText


class ImageToImage(Record):
    """How many images are generated from a photo, and how far from it."""

    NON_KEY_FIELDS: ClassVar = frozenset({"n_images"})

    model: Literal["sdxl-img2img"] = Field(
        "sdxl-img2img", description="SDXL adds noise to the photo and removes it under its caption."
    )
    n_images: int = Field(2, ge=1, le=1024, description="Images per photo.")
    longest_side: int = Field(
        1024, ge=64, le=4096, description="Longer side of an image, px; rounded to 64."
    )
    checkpoint: Checkpoint = Field(
        "stabilityai/stable-diffusion-xl-base-1.0", description="Weights of SDXL."
    )
    vae: Checkpoint = Field(
        "madebyollin/sdxl-vae-fp16-fix", description="Weights of the encoder and decoder."
    )
    safety_checker: Checkpoint | None = Field(
        None,
        description="Weights that find images not safe for work, such as "
        "CompVis/stable-diffusion-safety-checker; none: SDXL has none of its own.",
    )
    nsfw_retries: int = Field(
        3, ge=0, le=20, description="How often a flagged image is generated again."
    )
    strength: float = Field(
        0.5, ge=0.05, le=1, description="How far from the photo; at 1 nothing of it is left."
    )
    steps: int = Field(
        30, ge=20, le=200, description="Denoising steps from pure noise; strength takes a share."
    )
    scheduler: Literal["unipc", "dpm++", "euler", "ddim"] = Field("euler", description="Sampler.")
    guidance_scale: float = Field(
        5.0, ge=0, le=30, description="How strictly the prompt is followed; 1 or less: loosely."
    )
    suffix: PlainText = Field("", description="What the prompt ends with, after the caption.")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, self.vae, *checker


def images_of_each(
    parameters: ImageToImage, photos: Sequence[Artifact], captions: Sequence[Artifact]
) -> list[Job]:
    """Per photo that has a caption, images 0 to n - 1."""
    caption_of = {caption.name: caption for caption in captions}
    return [
        Job((photo, caption_of[photo.name]), {"image": image})
        for photo in photos
        if photo.name in caption_of
        for image in range(parameters.n_images)
    ]


@stage(
    "image_to_image",
    version=3,
    plan=images_of_each,
    batch_size=8,
    cost=Cost(
        mb_per_mp=1.2,
        # Of a photo with sides of 3 : 4.
        megapixels=lambda parameters, _: parameters.longest_side**2 * 0.75 / 1e6,
        tflop={"sdxl-img2img": (0, 204)},
    ),
    shown_as="images generated from the whole photo",
)
def image_to_image(inputs: Sequence[StageInput], parameters: ImageToImage) -> Iterator[StageOutput]:
    """RGB images, uint8, in the photo's shape up to a crop to whole cells of 64 px."""
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
