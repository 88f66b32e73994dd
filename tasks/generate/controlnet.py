"""ControlNet: images from prompts of a class that follow edges or masks of a real photo."""

from collections.abc import Iterator, Sequence
from typing import Any

from models.data.records import Artifact
from models.diffusion.prompts import without_weights
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.controlnet import Controlnet


def images_of_each(
    parameters: Controlnet, conditions: Sequence[Artifact], masks: Sequence[Artifact], label: str
) -> list[Job]:
    """Per condition, images 0 to n - 1, each with its prompts.

    A map doesn't show where objects that touch begin, so their masks are inputs too.
    """
    return [
        Job(
            (condition, *masks),
            {"label": label, "controlled": number, **parameters.texts_of(label, number)},
        )
        for condition in conditions
        for number in range(parameters.n_images)
    ]


@stage(
    "controlnet",
    version=1,
    plan=images_of_each,
    batch_size=8,
    cost=Cost(mb_per_mp=1.2, tflop={"sd15-canny": (0, 423), "sd15-segmentation": (0, 423)}),
    shown_as="images generated after it",
)
def controlnet(inputs: Sequence[StageInput], parameters: Controlnet) -> Iterator[StageOutput]:
    """RGB images, uint8, of the size of the condition; its objects are those of the image."""
    from models.diffusion.sd15.text_to_image import Sd15ControlNet, Sd15ControlRequest
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    names = {"steps", "guidance_scale", "scheduler", "nsfw_retries", "control_scale", "control_end"}
    common = parameters.model_dump(include=names)
    requests = []
    for item in inputs:
        pixels = item.load()
        requests.append(
            Sd15ControlRequest(
                # This network reads brackets and signs as text.
                prompt=without_weights(str(item.job.variant["prompt"])),
                negative=without_weights(str(item.job.variant["negative_prompt"])),
                seed=item.seed,
                condition=pixels,
                height=pixels.shape[0],
                width=pixels.shape[1],
                **common,
            )
        )
    results = infer(Sd15ControlNet, parameters.checkpoints, requests)
    for item, request, result in zip(inputs, requests, results, strict=True):
        metadata: dict[str, Any] = {"negative": request.negative, "retries": result.retries}
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason, prompt=request.prompt, metadata=metadata)
            continue
        if "objects" in item.job.inputs[0].metadata:
            metadata["objects"] = item.job.inputs[0].metadata["objects"]
        yield StageOutput(result.image, prompt=request.prompt, metadata=metadata)
