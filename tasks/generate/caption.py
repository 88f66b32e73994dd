"""Caption: a sentence about the photo's object, and the prompts made of it (the study: BLIP)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from models.captioning.cleanup import clean_caption
from models.captioning.template import class_words, with_class, write_caption
from models.data.records import Artifact, Checkpoint, Record
from models.diffusion.prompts import escape, to_compel, without_weights
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.prompt_text import ClassTexts, ColourText, LabelText, PlainText


class _Caption(Record):
    """What all models share.

    A photo's own prompt (``<photo>.txt`` next to it) comes first; it may hold weights.
    """

    # A job's variant holds its own sentence, so those of other classes are no part of its key.
    NON_KEY_FIELDS: ClassVar = frozenset({"prompts"})

    prompts: ClassTexts = Field(
        {}, description="Per class: a sentence used instead; may hold weights, as (red:1.3)."
    )
    negative_prompt: PlainText = Field(
        "blurry, cropped, deformed, watermark, text", description="What no image should show."
    )


class CaptionTemplate(_Caption):
    """A sentence with gaps, without a network."""

    model: Literal["template"] = Field(
        "template", description="class and colour in a fixed sentence."
    )
    template: ColourText = Field(
        "a photo of {a}{colour} {label}",
        description="Sentence with {label}, {colour} and {a}, the article.",
    )


class _NetworkCaption(_Caption):
    """What both networks share."""

    checkpoint: Checkpoint
    num_beams: int = Field(
        3, ge=1, le=16, description="Sentences compared by the beam search; 1 is greedy."
    )
    repetition_penalty: float = Field(
        1.1, ge=1, le=2, description="Above 1, words that were used become less likely."
    )
    max_new_tokens: int = Field(40, ge=5, le=100, description="Tokens of a caption at most.")
    max_words: int = Field(
        40, ge=5, le=75, description="Words that are kept at most; CLIP reads about 55."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint in use."""
        return (self.checkpoint,)


class CaptionBlip(_NetworkCaption):
    """BLIP, the study's network."""

    model: Literal["blip"] = Field("blip", description="the study's network.")
    checkpoint: Checkpoint = Field(
        "Salesforce/blip-image-captioning-large", description="Weights of BLIP."
    )
    prefix: LabelText = Field(
        "a photo of {a}{label}",
        description="What the caption begins with, so that it is about the class; empty for the "
        "network's own words. Knows {label} and {a}, the article.",
    )


class CaptionFlorence(_NetworkCaption):
    """Florence-2, a smaller and newer network."""

    model: Literal["florence-2"] = Field(
        "florence-2", description="a smaller, newer and more literal network."
    )
    checkpoint: Checkpoint = Field(
        "florence-community/Florence-2-base",
        description="Weights of Florence-2, in the layout that needs no remote code.",
    )
    detailed: bool = Field(False, description="Two or three sentences instead of one.")


Caption = Annotated[CaptionTemplate | CaptionBlip | CaptionFlorence, Field(discriminator="model")]


def one_per_photo(
    parameters: Caption, originals: Sequence[Artifact], label: str, prompt: str | None
) -> list[Job]:
    """Per original view one caption, keyed by its class and by the user's sentence."""
    own_prompt = prompt or parameters.prompts.get(label, "")
    return [Job((view,), {"label": label, "own_prompt": own_prompt}) for view in originals]


@stage(
    "caption",
    version=2,
    media="json",
    plan=one_per_photo,
    cost=Cost(ms=2, megapixels=lambda *_: 0.0, tflop={"blip": (0.5, 0), "florence-2": (0.3, 0)}),
    shown_as="the photo in words",
)
def caption(inputs: Sequence[StageInput], parameters: Caption) -> Iterator[StageOutput]:
    """``{"caption", "prompt", "negative_prompt", "label"}`` of each photo.

    The caption is in plain words, the prompt in Compel's syntax, and the label in words.
    """
    if isinstance(parameters, CaptionTemplate):
        return _fill_template(inputs, parameters)
    return _run_network(inputs, parameters)


def _fill_template(
    inputs: Sequence[StageInput], parameters: CaptionTemplate
) -> Iterator[StageOutput]:
    for item in inputs:
        own, label = _own_prompt(item), _label(item)
        sentence = own or write_caption(label, item.load(), parameters.template)
        yield _document(item, sentence, parameters)


def _run_network(
    inputs: Sequence[StageInput], parameters: CaptionBlip | CaptionFlorence
) -> Iterator[StageOutput]:
    """Photos with a sentence of their own load no network."""
    from models.runtime.batching import InvalidOutput

    described = [item for item in inputs if not _own_prompt(item)]
    results = iter(_describe(described, parameters))
    for item in inputs:
        if _own_prompt(item):
            yield _document(item, _own_prompt(item), parameters)
            continue
        result = next(results)
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason)
            continue
        sentence = clean_caption(result, _label(item), max_words=parameters.max_words)
        yield _document(item, sentence, parameters, {"network_caption": result})


def _describe(inputs: Sequence[StageInput], parameters: CaptionBlip | CaptionFlorence) -> list[Any]:
    """The networks' own words for each photo, or `InvalidOutput`."""
    from models.captioning.blip import Blip, BlipRequest
    from models.captioning.florence import Florence, FlorenceRequest
    from models.runtime.network_pool import infer

    search: dict[str, Any] = {
        "max_new_tokens": parameters.max_new_tokens,
        "num_beams": parameters.num_beams,
        "repetition_penalty": parameters.repetition_penalty,
    }
    if isinstance(parameters, CaptionFlorence):
        detail: Any = "<DETAILED_CAPTION>" if parameters.detailed else "<CAPTION>"
        photos = [FlorenceRequest(item.load(), detail, **search) for item in inputs]
        return infer(Florence, parameters.checkpoints, photos)
    begun = [with_class(parameters.prefix, class_words(_label(item))) or None for item in inputs]
    requests = [
        BlipRequest(item.load(), words, **search) for item, words in zip(inputs, begun, strict=True)
    ]
    return infer(Blip, parameters.checkpoints, requests)


def _label(item: StageInput) -> str:
    return str(item.job.variant["label"])


def _own_prompt(item: StageInput) -> str:
    return str(item.job.variant["own_prompt"])


def _document(
    item: StageInput, sentence: str, parameters: Caption, metadata: dict[str, Any] | None = None
) -> StageOutput:
    # A user's sentence may hold weights; in other sentences, brackets and signs mean themselves.
    prompt = to_compel(sentence) if _own_prompt(item) else escape(sentence)
    content = {
        "caption": without_weights(prompt),
        "prompt": prompt,
        "negative_prompt": parameters.negative_prompt,
        "label": class_words(_label(item)),
    }
    return StageOutput(content, metadata=metadata or {}, prompt=content["caption"])
