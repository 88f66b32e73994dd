"""Caption: a sentence on the photo's object, and the prompts made of it (the study: BLIP)."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from models.captioning import write_caption
from models.records import Artifact, Record
from tasks.stage import Job, Piece, Product, stage


class Caption(Record):
    """How a photo is put into words; its own prompt (``<photo>.txt`` beside it) comes first."""

    model: Literal["template"] = Field("template", description="Class and colour in a sentence.")
    template: str = Field(
        "a photo of {a}{colour} {label}",
        description="Sentence with {label}, {colour} and {a}, the article.",
    )
    prompts: dict[str, str] = Field({}, description="Per class: a sentence used instead.")
    negative_prompt: str = Field(
        "blurry, cropped, deformed, watermark, text", description="What no image should show."
    )


def one_per_photo(
    parameters: Caption, originals: Sequence[Artifact], label: str, prompt: str | None
) -> list[Job]:
    """Per original view one caption, keyed by the class and the sentence that was asked for."""
    asked = prompt or parameters.prompts.get(label, "")
    return [Job((view,), {"label": label, "asked": asked}) for view in originals]


def wording(parameters: Caption) -> dict[str, Any]:
    """What of the settings goes into a key; of all classes' prompts only the photo's own, by its
    job's index."""
    return parameters.model_dump(mode="json", exclude={"prompts"})


@stage("caption", version=1, media="json", plan=one_per_photo, identity=wording)
def caption(pieces: Sequence[Piece], parameters: Caption) -> Iterator[Product]:
    """``{"caption", "negative_prompt"}`` of each photo."""
    for piece in pieces:
        label, asked = str(piece.job.index["label"]), str(piece.job.index["asked"])
        sentence = asked or write_caption(label, piece.load(), parameters.template)
        content = {"caption": sentence, "negative_prompt": parameters.negative_prompt}
        yield Product(content, prompt=sentence)
