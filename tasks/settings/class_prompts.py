"""Prompts about a class: templates, what no image should show, and how many images there are."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from models.captioning.template import class_words, with_class
from models.data.names import normal_form
from models.data.records import Checkpoint, Record
from models.diffusion.prompts import escape, to_compel
from tasks.settings.prompt_text import ClassTexts, LabelText, SubjectText

_NORMAL_CLASSES = AfterValidator(
    lambda texts: {normal_form(label): text for label, text in texts.items()}
)
# Templates by class; classes in normal form C, as those of photos.
ClassTemplates = Annotated[
    dict[str, Annotated[tuple[LabelText, ...], Field(min_length=1)]], _NORMAL_CLASSES
]
SubjectTemplates = Annotated[
    dict[str, Annotated[tuple[SubjectText, ...], Field(min_length=1)]], _NORMAL_CLASSES
]


class Prompts(Record):
    """What all networks share that read a prompt about a class.

    The texts of an image are part of its key, so those of other classes are not.
    """

    NON_KEY_FIELDS: ClassVar = frozenset(
        {"templates", "prompts", "negative_prompt", "negative_prompts"}
    )

    templates: tuple[LabelText, ...] = Field(
        ("a photo of whole {label} on the table. top view",),
        min_length=1,
        description="Prompts, of which each image draws one. Know {label} and {a}, its article.",
    )
    prompts: ClassTemplates = Field({}, description="Per class: templates used instead.")
    negative_prompt: LabelText = Field(
        "sliced, halved, cut", description="What no image should show."
    )
    negative_prompts: ClassTexts = Field({}, description="Per class: used instead.")
    safety_checker: Checkpoint | None = Field(
        "CompVis/stable-diffusion-safety-checker",
        description="Weights that find images not safe for work; none: no image is checked.",
    )
    nsfw_retries: int = Field(
        3, ge=0, le=20, description="How often a flagged image is generated again."
    )

    def texts_of(self, label: str, number: int | str) -> dict[str, str]:
        """The prompt and the negative prompt of an image, in the words of the recipe.

        Templates are drawn by rendezvous hashing: one that is added changes only the images that
        now draw it.

        Args:
            number: of the image, or another name for it.
        """
        templates = self.prompts.get(label, self.templates)
        negative = self.negative_prompts.get(label, self.negative_prompt)
        return {
            "prompt": _fill(_draw(templates, f"{label}/{number}"), label),
            "negative_prompt": _fill(negative, label),
        }


class ClassPrompts(Prompts):
    """What all networks share that draw a class from its name."""

    NON_KEY_FIELDS: ClassVar = Prompts.NON_KEY_FIELDS | {"n_images"}

    n_images: int = Field(10, ge=1, le=100_000, description="Images of each class.")


class Sd15Prompts(ClassPrompts):
    """What all uses of Stable Diffusion 1.5 share."""

    steps: int = Field(50, ge=1, le=200, description="Denoising steps.")
    guidance_scale: float = Field(
        7.5, ge=0, le=30, description="How strictly the prompt is followed; 1 or less: loosely."
    )
    scheduler: Literal["pndm", "unipc", "dpm++", "euler", "ddim"] = Field(
        "pndm", description="Sampler; pndm is the published one."
    )
    checkpoint: Checkpoint = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        description="Weights of Stable Diffusion 1.5, or of a network of the same layout.",
    )


def _fill(template: str, label: str) -> str:
    """The template in Compel's syntax, with the class as plain words."""
    return with_class(to_compel(template), escape(class_words(label)))


def _draw(templates: Sequence[str], image: str) -> str:
    return max(
        templates, key=lambda text: (hashlib.sha256(f"{image}/{text}".encode()).digest(), text)
    )
