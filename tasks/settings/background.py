"""Settings of the stage `background`: where the object goes, and what makes its scene."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.compositing.settings import CompositeSettings
from models.data.records import Checkpoint, Record
from tasks.settings.prompt_text import LabelText, PlainText


class _Background(Record):
    """What both models share."""

    NON_KEY_FIELDS: ClassVar = frozenset({"n_backgrounds"})

    n_backgrounds: int = Field(2, ge=1, le=64, description="Scenes per augmented view (c).")
    width: int = Field(768, ge=64, le=4096, description="Width of a scene, px.")
    height: int = Field(1024, ge=64, le=4096, description="Height of a scene, px.")
    scenes: tuple[PlainText, ...] = Field(
        (), description="Endings of the prompt to choose from, such as 'on grass'."
    )
    ranges: CompositeSettings = Field(
        default_factory=CompositeSettings, description="Size and light."
    )


class BackgroundComposite(_Background):
    """Compositing, without a network."""

    model: Literal["composite"] = Field(
        "composite", description="the cut-out object on a background image."
    )
    top_view_probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Probability of a flat ground seen from above; none: as the scene suggests.",
    )


class FewStep(Record):
    """A distilled network in place of steps, scheduler and guidance_scale."""

    steps: Literal[4, 8] = Field(4, description="Denoising steps.")
    checkpoint: Checkpoint = Field(
        "ByteDance/SDXL-Lightning", description="Weights of the distilled network."
    )


class BackgroundSdxl(_Background):
    """SDXL with a depth ControlNet, the study's networks."""

    model: Literal["sdxl-controlnet-depth"] = Field(
        "sdxl-controlnet-depth",
        description="object and scene generated from the caption and the object's depth.",
    )
    checkpoint: Checkpoint = Field(
        "stabilityai/stable-diffusion-xl-base-1.0", description="Weights of SDXL."
    )
    controlnet: Checkpoint = Field(
        "diffusers/controlnet-depth-sdxl-1.0-small",
        description="Weights of the network that makes SDXL follow the depth.",
    )
    vae: Checkpoint = Field("madebyollin/sdxl-vae-fp16-fix", description="Weights of the decoder.")
    safety_checker: Checkpoint | None = Field(
        None,
        description="Weights that find images not safe for work, such as "
        "CompVis/stable-diffusion-safety-checker; none: SDXL has none of its own.",
    )
    nsfw_retries: int = Field(
        3, ge=0, le=20, description="How often a flagged image is generated again."
    )
    scheduler: Literal["unipc", "dpm++", "euler", "ddim"] = Field("unipc", description="Sampler.")
    steps: int = Field(30, ge=1, le=200, description="Denoising steps.")
    guidance_scale: float = Field(
        5.0, ge=0, le=30, description="How strictly the prompt is followed; 1 or less: loosely."
    )
    control_scale: float = Field(
        1.0,
        ge=0,
        le=2,
        description="How strictly the depth is followed; low: the mask may no longer fit.",
    )
    control_end: float = Field(
        1.0, ge=0, le=1, description="Share of the steps in which the depth is followed."
    )
    few_step: FewStep | None = Field(
        None,
        description="A distilled network: several times as fast, less varied; none: SDXL itself.",
    )
    caption_weight: float = Field(
        1.0, ge=0, le=2, description="How much the caption counts in the prompt."
    )
    prompt: LabelText = Field(
        "",
        description="Part of every prompt, after the caption. Knows {label} and {a}, its article; "
        "may hold weights, as (sharp:1.3) or (sharp)1.3.",
    )
    prompt_weight: float = Field(1.0, ge=0, le=2, description="How much that part counts.")
    suffix: PlainText = Field(
        "highly detailed photo", description="What the prompt ends with, after the scene."
    )
    suffix_weight: float = Field(
        1.0, ge=0, le=2, description="How much scene and suffix count in the prompt."
    )
    negative_weight: float = Field(
        1.0, ge=0, le=2, description="How much the caption stage's negative prompt counts."
    )
    keep_original_pixels: bool = Field(
        False,
        description="Paste the photo's own object over the generated one: keeps logos and writing.",
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        few_step = (self.few_step.checkpoint,) if self.few_step else ()
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, self.controlnet, self.vae, *few_step, *checker


Background = Annotated[BackgroundComposite | BackgroundSdxl, Field(discriminator="model")]
