"""Caption: a sentence on the photo's object, and the prompts made of it (the study: BLIP)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from models.captioning.cleanup import clean_caption
from models.captioning.template import class_words, with_class, write_caption
from models.data.records import Artifact, Checkpoint, Of, Record
from models.diffusion.prompts import escape, to_compel, without_weights
from tasks.engine.stage import Job, StageInput, StageOutput, settings, stage


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


@stage("caption", version=2, media="json", plan=one_per_photo, key_params=wording)
def caption(inputs: Sequence[StageInput], parameters: Caption) -> Iterator[StageOutput]:
    """``{"caption", "prompt", "negative_prompt", "label"}`` of each photo: the caption in plain
    words, the prompt in Compel's syntax, and the class as words."""
    make = _by_template if parameters.model == "template" else _by_network
    return make(inputs, parameters)


def _by_template(inputs: Sequence[StageInput], parameters: Caption) -> Iterator[StageOutput]:
    for item in inputs:
        sentence = _asked(item) or write_caption(_label(item), item.load(), parameters.template)
        yield _as_product(item, sentence, parameters)


def _by_network(inputs: Sequence[StageInput], parameters: Caption) -> Iterator[StageOutput]:
    """Photos with a sentence of their own load no network."""
    from models.runtime.batching import InvalidOutput

    said = iter(_say([item for item in inputs if not _asked(item)], parameters))
    for item in inputs:
        if _asked(item):
            yield _as_product(item, _asked(item), parameters)
            continue
        words = next(said)
        if isinstance(words, InvalidOutput):
            yield StageOutput(reject_reason=words.reason)
            continue
        sentence = clean_caption(words, _label(item), max_words=parameters.max_words)
        yield _as_product(item, sentence, parameters, {"said": words})


def _say(inputs: Sequence[StageInput], parameters: Caption) -> list[Any]:
    """What the network says of each photo, or `InvalidOutput`."""
    from models.captioning.blip import Blip, BlipRequest
    from models.captioning.florence import Florence, FlorenceRequest
    from models.runtime.network_pool import infer

    search: dict[str, Any] = {
        "max_new_tokens": parameters.max_new_tokens,
        "num_beams": parameters.num_beams,
        "repetition_penalty": parameters.repetition_penalty,
    }
    if parameters.model == "blip":
        asked = [BlipRequest(item.load(), _prefix(item, parameters), **search) for item in inputs]
        return infer(Blip, parameters.checkpoints, asked)
    task: Any = "<DETAILED_CAPTION>" if parameters.detailed else "<CAPTION>"
    questions = [FlorenceRequest(item.load(), task, **search) for item in inputs]
    return infer(Florence, parameters.checkpoints, questions)


def _prefix(item: StageInput, parameters: Caption) -> str | None:
    return with_class(parameters.prefix, class_words(_label(item))) or None


def _label(item: StageInput) -> str:
    return str(item.job.variant["label"])


def _asked(item: StageInput) -> str:
    return str(item.job.variant["asked"])


def _as_product(
    item: StageInput, sentence: str, parameters: Caption, metadata: dict[str, Any] | None = None
) -> StageOutput:
    # A person's own sentence may hold weights; all of a template's or a network's means itself.
    prompt = to_compel(sentence) if _asked(item) else escape(sentence)
    content = {
        "caption": without_weights(prompt),
        "prompt": prompt,
        "negative_prompt": parameters.negative_prompt,
        "label": class_words(_label(item)),
    }
    return StageOutput(content, metadata=metadata or {}, prompt=content["caption"])
