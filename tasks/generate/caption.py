"""Caption: a sentence on the photo's object, and the prompts made of it (the study: BLIP)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from models.captioning.cleanup import class_words, clean_caption, with_class
from models.captioning.template import write_caption
from models.data.records import Artifact, Checkpoint, Of, Record
from models.diffusion.prompts import escape, to_compel, without_weights
from tasks.engine.stage import Job, Piece, Product, settings, stage


class Caption(Record):
    """How a photo is put into words; its own prompt (``<photo>.txt`` beside it), which may hold
    weights, comes first.
    """

    model: Literal["template", "blip", "florence-2"] = Field(
        "template",
        description="template: class and colour in a sentence. blip: the study's network. "
        "florence-2: a smaller and newer one, more literal.",
    )
    checkpoint: Annotated[Checkpoint, Of("blip")] = Field(
        "Salesforce/blip-image-captioning-large", description="Weights of blip."
    )
    florence: Annotated[Checkpoint, Of("florence-2")] = Field(
        "florence-community/Florence-2-base",
        description="Weights of florence-2, in the layout that needs no remote code.",
    )
    template: Annotated[str, Of("template")] = Field(
        "a photo of {a}{colour} {label}",
        description="Sentence with {label}, {colour} and {a}, the article.",
    )
    prefix: Annotated[str, Of("blip")] = Field(
        "a photo of {a}{label}",
        description="What the caption begins with, so that it is about the class; empty for the "
        "network's own words. Knows {label} and {a}, the article.",
    )
    detailed: Annotated[bool, Of("florence-2")] = Field(
        False, description="Two or three sentences instead of one."
    )
    num_beams: Annotated[int, Of("blip", "florence-2")] = Field(
        3, ge=1, le=16, description="Sentences kept in view while searching; 1 is greedy."
    )
    repetition_penalty: Annotated[float, Of("blip", "florence-2")] = Field(
        1.1, ge=1, le=2, description="Above 1, words that have been said become less likely."
    )
    max_new_tokens: Annotated[int, Of("blip", "florence-2")] = Field(
        40, ge=5, le=100, description="Word pieces of a caption at most."
    )
    max_words: Annotated[int, Of("blip", "florence-2")] = Field(
        40, ge=5, le=75, description="Words that are kept; CLIP reads about 55."
    )
    prompts: dict[str, str] = Field(
        {}, description="Per class: a sentence used instead; may hold weights, as (red:1.3)."
    )
    negative_prompt: str = Field(
        "blurry, cropped, deformed, watermark, text", description="What no image should show."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints in use."""
        used = {"blip": (self.checkpoint,), "florence-2": (self.florence,)}
        return used.get(self.model, ())


def one_per_photo(
    parameters: Caption, originals: Sequence[Artifact], label: str, prompt: str | None
) -> list[Job]:
    """Per original view one caption, keyed by the class and the sentence that was asked for."""
    asked = prompt or parameters.prompts.get(label, "")
    return [Job((view,), {"label": label, "asked": asked}) for view in originals]


def wording(parameters: Caption) -> dict[str, Any]:
    """What of the settings goes into a key; of all classes' prompts only the photo's own, by its
    job's index."""
    return settings(parameters, without=("prompts",))


@stage("caption", version=2, media="json", plan=one_per_photo, identity=wording)
def caption(pieces: Sequence[Piece], parameters: Caption) -> Iterator[Product]:
    """``{"caption", "prompt", "negative_prompt", "label"}`` of each photo: the caption in plain
    words, the prompt in Compel's syntax, and the class as words."""
    make = _by_template if parameters.model == "template" else _by_network
    return make(pieces, parameters)


def _by_template(pieces: Sequence[Piece], parameters: Caption) -> Iterator[Product]:
    for piece in pieces:
        sentence = _asked(piece) or write_caption(_label(piece), piece.load(), parameters.template)
        yield _as_product(piece, sentence, parameters)


def _by_network(pieces: Sequence[Piece], parameters: Caption) -> Iterator[Product]:
    """Photos with a sentence of their own load no network."""
    from models.runtime.batching import Unusable

    said = iter(_say([piece for piece in pieces if not _asked(piece)], parameters))
    for piece in pieces:
        if _asked(piece):
            yield _as_product(piece, _asked(piece), parameters)
            continue
        words = next(said)
        if isinstance(words, Unusable):
            yield Product(rejected=words.reason)
            continue
        sentence = clean_caption(words, _label(piece), max_words=parameters.max_words)
        yield _as_product(piece, sentence, parameters, {"said": words})


def _say(pieces: Sequence[Piece], parameters: Caption) -> list[Any]:
    """What the network says of each photo, or `Unusable`."""
    from models.captioning.blip import Blip, BlipRequest
    from models.captioning.florence import Florence, FlorenceRequest
    from models.runtime.network_pool import ask

    search: dict[str, Any] = {
        "max_new_tokens": parameters.max_new_tokens,
        "num_beams": parameters.num_beams,
        "repetition_penalty": parameters.repetition_penalty,
    }
    if parameters.model == "blip":
        asked = [
            BlipRequest(piece.load(), _prefix(piece, parameters), **search) for piece in pieces
        ]
        return ask(Blip, parameters.checkpoints, asked)
    task: Any = "<DETAILED_CAPTION>" if parameters.detailed else "<CAPTION>"
    questions = [FlorenceRequest(piece.load(), task, **search) for piece in pieces]
    return ask(Florence, parameters.checkpoints, questions)


def _prefix(piece: Piece, parameters: Caption) -> str | None:
    return with_class(parameters.prefix, class_words(_label(piece))) or None


def _label(piece: Piece) -> str:
    return str(piece.job.index["label"])


def _asked(piece: Piece) -> str:
    return str(piece.job.index["asked"])


def _as_product(
    piece: Piece, sentence: str, parameters: Caption, facts: dict[str, Any] | None = None
) -> Product:
    # A person's own sentence may hold weights; all of a template's or a network's means itself.
    prompt = to_compel(sentence) if _asked(piece) else escape(sentence)
    content = {
        "caption": without_weights(prompt),
        "prompt": prompt,
        "negative_prompt": parameters.negative_prompt,
        "label": class_words(_label(piece)),
    }
    return Product(content, facts=facts or {}, prompt=content["caption"])
