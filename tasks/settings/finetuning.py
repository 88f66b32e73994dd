"""Settings of the stages `textual_inversion` and `dreambooth`, and of drawing with their weights.

A generator names its checkpoint once, for the images: its training uses the same.
"""

from typing import Annotated, ClassVar, Self

from pydantic import Field

from models.data.records import Checkpoint, Record
from models.diffusion.prompts import escape
from tasks.settings.class_prompts import SubjectTemplates
from tasks.settings.prompt_text import ClassTexts, LabelText, SubjectText
from tasks.settings.text_to_image import TextToImageSd15, TextToImageSdxl

# A word of a prompt.
Word = Annotated[str, Field(pattern=r"^[^\s{}\\]+$", max_length=40)]


class _Subject(Record):
    """What both networks share that draw what was learned of a class."""

    templates: tuple[SubjectText, ...] = Field(
        ("a photo of {word} {label}",),
        min_length=1,
        description="Prompts, of which each image draws one. Know {word}, which names what was"
        " learned, {label} and {a}, its article.",
    )
    prompts: SubjectTemplates = Field({}, description="Per class: templates used instead.")
    negative_prompt: LabelText = Field("", description="What no image should show.")

    def with_word(self, word: str) -> Self:
        """The same settings with the word in the templates."""
        plain = escape(word)
        return self.model_copy(
            update={
                "templates": _put(self.templates, plain),
                "prompts": {label: _put(texts, plain) for label, texts in self.prompts.items()},
            }
        )


class SubjectSd15(_Subject, TextToImageSd15):
    """Stable Diffusion 1.5 with learned weights."""


class SubjectSdxl(_Subject, TextToImageSdxl):
    """SDXL with learned weights."""


SubjectImages = Annotated[SubjectSd15 | SubjectSdxl, Field(discriminator="model")]


class Finetuning(Record):
    """What both trainings share. A draw is one photo; the learning rate is constant."""

    NON_KEY_FIELDS: ClassVar = frozenset({"save_every", "sample_every", "samples"})

    size: int = Field(
        512, ge=64, le=2048, multiple_of=64, description="Side of the photos' centre squares, px."
    )
    steps: int = Field(400, ge=1, le=100_000, description="Updates of the weights.")
    learning_rate: float = Field(5e-6, gt=0, le=1, description="Learning rate of AdamW.")
    accumulation: int = Field(
        1, ge=1, le=64, description="Photos whose mean gradient gives an update."
    )
    max_norm: float | None = Field(
        1.0, gt=0, le=1000, description="Bound of the gradients' norm; none: no bound."
    )
    save_every: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Steps between states on disk; a killed training continues from the last one.",
    )
    sample_every: int | None = Field(
        100,
        ge=1,
        le=100_000,
        description="Steps between sample sheets, drawn for people alone; none: no sheets.",
    )
    samples: int = Field(4, ge=1, le=16, description="Images of a sample sheet.")


class LearnWord(Finetuning):
    """Textual Inversion: the embedding of a new word is learned; all networks stay as they are."""

    NON_KEY_FIELDS: ClassVar = Finetuning.NON_KEY_FIELDS | {"initializers"}

    placeholder: Word = Field(
        "<funny-ret>", description="The new word; one that the tokenizers don't have."
    )
    initializers: ClassTexts = Field(
        {},
        description="Per class: a word whose embedding is the first; of others: the last word of"
        " the class.",
    )
    steps: int = Field(3000, ge=1, le=100_000, description="Updates of the embedding.")
    learning_rate: float = Field(5e-4, gt=0, le=1, description="Learning rate of AdamW.")
    accumulation: int = Field(
        4, ge=1, le=64, description="Photos whose mean gradient gives an update."
    )
    max_norm: float | None = Field(
        None, gt=0, le=1000, description="Bound of the gradients' norm; none: no bound."
    )
    sample_every: int | None = Field(
        500,
        ge=1,
        le=100_000,
        description="Steps between sample sheets, drawn for people alone; none: no sheets.",
    )


class TuneUnet(Finetuning):
    """DreamBooth: the U-Net is trained so that a rare word names what the photos show."""

    # The texts of a class and the prior images are in the variant and the inputs of its job.
    NON_KEY_FIELDS: ClassVar = Finetuning.NON_KEY_FIELDS | {
        "prompt",
        "prior_prompt",
        "prior_images",
    }

    word: Word = Field("sks", description="A word that the network hardly knows.")
    prompt: SubjectText = Field(
        "a photo of {word} {label}",
        description="Prompt of the photos. Knows {word}, {label} and {a}, its article.",
    )
    prior_prompt: LabelText = Field(
        "a photo of {label}", description="Prompt of the prior images. Knows {label} and {a}."
    )
    prior_images: int = Field(
        200,
        ge=0,
        le=10_000,
        description="Images of a class from the checkpoint as it is, which it must go on drawing;"
        " 0: it may forget them.",
    )
    prior_weight: float = Field(1.0, gt=0, le=100, description="Weight of their loss.")
    lora_rank: int | None = Field(
        None,
        ge=1,
        le=320,
        description="Rank of a LoRA of the attention layers, which is trained in place of all"
        " weights; it takes a learning rate of about 1e-4. None: all weights.",
    )


class _OnCheckpoint(Record):
    """The networks that are trained."""

    model: str
    checkpoint: Checkpoint
    vae: Checkpoint | None

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        return (self.checkpoint,) if self.vae is None else (self.checkpoint, self.vae)


class LearnWordOn(LearnWord, _OnCheckpoint):
    """Textual Inversion and the networks that read the word."""


class TuneUnetOn(TuneUnet, _OnCheckpoint):
    """DreamBooth and the networks that are trained."""


def learn_word_for(images: SubjectImages, training: LearnWord) -> LearnWordOn:
    """The training on the checkpoint of the images."""
    return LearnWordOn(**training.model_dump(), **_networks_of(images))


def tune_unet_for(images: SubjectImages, training: TuneUnet) -> TuneUnetOn:
    """The training on the checkpoint of the images."""
    return TuneUnetOn(**training.model_dump(), **_networks_of(images))


def prior_images_of(images: SubjectImages, training: TuneUnet) -> TextToImageSd15 | TextToImageSdxl:
    """The settings of the prior images: as the images, from the class alone."""
    return images.model_copy(
        update={
            "n_images": training.prior_images,
            "templates": (training.prior_prompt,),
            "prompts": {},
            "negative_prompt": "",
            "negative_prompts": {},
            "width": training.size,
            "height": training.size,
        }
    )


def _networks_of(images: SubjectImages) -> dict[str, str | None]:
    vae = images.vae if isinstance(images, SubjectSdxl) else None
    return {"model": images.model, "checkpoint": images.checkpoint, "vae": vae}


def _put(templates: tuple[str, ...], word: str) -> tuple[str, ...]:
    return tuple(template.replace("{word}", word) for template in templates)
