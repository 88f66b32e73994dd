"""Text to image: images of a class from its name alone (the fruit study: Stable Diffusion 1.5).

No step knows the object's mask, so the images have no alpha. No photo is read: the same prompts
give the same images for any photos. With weights that were learned of a class, its prompts name
what was learned.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from models.data.records import Artifact
from models.diffusion.prompts import without_weights
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.text_to_image import TextToImage, TextToImageSd15, TextToImageSdxl

if TYPE_CHECKING:
    from models.diffusion.sd15.text_to_image import Sd15Request
    from models.diffusion.sdxl.text_to_image import SdxlTextRequest


def images_of_class(
    parameters: TextToImage, label: str, learned: Sequence[Artifact] = ()
) -> list[Job]:
    """Images 0 to n - 1 of a class, each with its prompts and the weights to draw it with."""
    return [
        Job(
            tuple(learned),
            {"label": label, "image": number, **parameters.texts_of(label, number)},
            name=learned[0].name if learned else f"{label}/text_to_image",
        )
        for number in range(parameters.n_images)
    ]


@stage(
    "text_to_image",
    version=1,
    plan=images_of_class,
    batch_size=8,
    cost=Cost(
        mb_per_mp=1.2,
        megapixels=lambda parameters, _: parameters.width * parameters.height / 1e6,
        tflop={"sd15": (0, 316), "sdxl": (0, 387)},
    ),
    shown_as="images generated from the name of the class",
)
def text_to_image(inputs: Sequence[StageInput], parameters: TextToImage) -> Iterator[StageOutput]:
    """RGB images, uint8, height x width x 3."""
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    kind, requests = (
        _sd15_requests(inputs, parameters)
        if isinstance(parameters, TextToImageSd15)
        else _sdxl_requests(inputs, parameters)
    )
    results = infer(kind, parameters.checkpoints, requests)
    for request, result in zip(requests, results, strict=True):
        metadata = {"negative": request.negative, "retries": result.retries}
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason, prompt=request.prompt, metadata=metadata)
        else:
            yield StageOutput(result.image, prompt=request.prompt, metadata=metadata)


def _sd15_requests(
    inputs: Sequence[StageInput], parameters: TextToImageSd15
) -> tuple[Any, list["Sd15Request"]]:
    from models.diffusion.sd15.learned import Sd15Learned, Sd15LearnedRequest
    from models.diffusion.sd15.text_to_image import Sd15Request, Sd15TextToImage

    is_learned = bool(inputs[0].job.inputs)
    request = Sd15LearnedRequest if is_learned else Sd15Request
    return Sd15Learned if is_learned else Sd15TextToImage, [
        request(
            # This network reads brackets and signs as text.
            prompt=without_weights(str(item.job.variant["prompt"])),
            negative=without_weights(str(item.job.variant["negative_prompt"])),
            seed=item.seed,
            **_common(item, parameters),
        )
        for item in inputs
    ]


def _sdxl_requests(
    inputs: Sequence[StageInput], parameters: TextToImageSdxl
) -> tuple[Any, list["SdxlTextRequest"]]:
    from models.diffusion.sdxl.learned import SdxlLearned, SdxlLearnedRequest
    from models.diffusion.sdxl.text_to_image import SdxlTextRequest, SdxlTextToImage

    is_learned = bool(inputs[0].job.inputs)
    request = SdxlLearnedRequest if is_learned else SdxlTextRequest
    return SdxlLearned if is_learned else SdxlTextToImage, [
        request(
            prompt=str(item.job.variant["prompt"]),
            negative=str(item.job.variant["negative_prompt"]),
            seed=item.seed,
            **_common(item, parameters),
        )
        for item in inputs
    ]


def _common(item: StageInput, parameters: TextToImage) -> dict[str, Any]:
    """The fields of a request that both networks share, and the learned weights of an image."""
    from models.diffusion.finetuning.learned import Learned

    names = {"width", "height", "steps", "guidance_scale", "scheduler", "nsfw_retries"}
    common = parameters.model_dump(include=names)
    for weights in item.job.inputs:
        kind, word = weights.metadata["weights"], weights.metadata.get("word", "")
        common["learned"] = Learned(kind, item.run.fetch(weights), word)
    return common
