"""Settings of the stages `condition` and `controlnet`: what the network follows, and how."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.data.records import Checkpoint, Record
from tasks.settings.class_prompts import ClassPrompts, Sd15Prompts
from tasks.settings.prompt_text import LabelText

Level = Annotated[int, Field(ge=0, le=255)]
Rgb = tuple[Level, Level, Level]


class _Condition(Record):
    """What both conditions share."""

    longest_side: int = Field(
        512, ge=64, le=4096, description="Longer side of an image, px; rounded to 64."
    )


class Edges(_Condition):
    """Edges of the photo by Canny's detector."""

    low: float = Field(
        100, ge=0, le=1500, description="Gradient above which an edge continues; low: longer edges."
    )
    high: float = Field(
        200, ge=0, le=1500, description="Gradient above which an edge begins; low: more edges."
    )


class ColourMap(_Condition):
    """The masks of the photo's objects in the colours that the network was trained with."""

    object_colour: Rgb = Field(
        (255, 0, 122),
        description="RGB of objects: a colour of ADE20K; animal 255, 0, 122; food 255, 204, 0.",
    )
    border_colour: Rgb = Field((0, 0, 0), description="RGB of the border in a trimap.")
    background_colour: Rgb = Field((0, 0, 0), description="RGB of what is no object.")


Condition = Edges | ColourMap


class _Controlnet(Sd15Prompts):
    """What both models share: Stable Diffusion 1.5 and how strictly it follows."""

    # The condition's pixels are the stage's input.
    NON_KEY_FIELDS: ClassVar = ClassPrompts.NON_KEY_FIELDS | {"condition"}

    condition: Condition
    controlnet: Checkpoint
    n_images: int = Field(2, ge=1, le=1024, description="Images of each photo.")
    templates: tuple[LabelText, ...] = Field(
        ("a photo of {a}{label}",),
        min_length=1,
        description="Prompts, of which each image draws one. Know {label} and {a}, its article.",
    )
    negative_prompt: LabelText = Field(
        "blurry, deformed, watermark, text", description="What no image should show."
    )
    control_scale: float = Field(
        1.0, ge=0, le=2, description="How strictly the condition is followed."
    )
    control_end: float = Field(
        1.0, ge=0, le=1, description="Share of the steps in which the condition is followed."
    )
    scheduler: Literal["pndm", "unipc", "dpm++", "euler", "ddim"] = Field(
        "unipc", description="Sampler; pndm is the published one of Stable Diffusion 1.5."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        checker = (self.safety_checker,) if self.safety_checker else ()
        return self.checkpoint, self.controlnet, *checker


class ControlnetEdges(_Controlnet):
    """Stable Diffusion 1.5 that follows edges."""

    model: Literal["sd15-canny"] = Field(
        "sd15-canny", description="Stable Diffusion 1.5 that follows the edges of the photo."
    )
    condition: Edges = Field(Edges(), description="The edges.")
    controlnet: Checkpoint = Field(
        "lllyasviel/control_v11p_sd15_canny",
        description="Weights of the network that makes Stable Diffusion 1.5 follow edges.",
    )


class ControlnetMasks(_Controlnet):
    """Stable Diffusion 1.5 that follows a segmentation."""

    model: Literal["sd15-segmentation"] = Field(
        "sd15-segmentation",
        description="Stable Diffusion 1.5 that follows the masks of the photo's objects; these "
        "become the masks of the image.",
    )
    condition: ColourMap = Field(ColourMap(), description="The map of the masks.")
    controlnet: Checkpoint = Field(
        "lllyasviel/control_v11p_sd15_seg",
        description="Weights of the network that makes Stable Diffusion 1.5 follow a map.",
    )


Controlnet = Annotated[ControlnetEdges | ControlnetMasks, Field(discriminator="model")]
