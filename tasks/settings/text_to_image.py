"""Settings of the stage `text_to_image`: prompts of a class, and the network that reads them."""

from typing import Annotated, Literal

from pydantic import Field

from models.data.records import Checkpoint
from tasks.settings.class_prompts import ClassPrompts, Sd15Prompts

Side = Annotated[int, Field(ge=64, le=4096, multiple_of=64)]


class TextToImageSd15(Sd15Prompts):
    """Stable Diffusion 1.5, the study's network."""

    model: Literal["sd15"] = Field(
        "sd15", description="Stable Diffusion 1.5; prompts are plain words, without weights."
    )
    width: Side = Field(512, description="Width of an image, px; a multiple of 64.")
    height: Side = Field(512, description="Height of an image, px; a multiple of 64.")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, *checker


class TextToImageSdxl(ClassPrompts):
    """SDXL, a larger and newer network."""

    model: Literal["sdxl"] = Field("sdxl", description="SDXL; prompts may hold weights.")
    width: Side = Field(1024, description="Width of an image, px; a multiple of 64.")
    height: Side = Field(1024, description="Height of an image, px; a multiple of 64.")
    steps: int = Field(30, ge=1, le=200, description="Denoising steps.")
    guidance_scale: float = Field(
        5.0, ge=0, le=30, description="How strictly the prompt is followed; 1 or less: loosely."
    )
    scheduler: Literal["unipc", "dpm++", "euler", "ddim"] = Field("euler", description="Sampler.")
    checkpoint: Checkpoint = Field(
        "stabilityai/stable-diffusion-xl-base-1.0", description="Weights of SDXL."
    )
    vae: Checkpoint = Field("madebyollin/sdxl-vae-fp16-fix", description="Weights of the decoder.")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, self.vae, *checker


TextToImage = Annotated[TextToImageSd15 | TextToImageSdxl, Field(discriminator="model")]
