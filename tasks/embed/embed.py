"""Embed: the features of images by a frozen network, computed once and kept in the store."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from safetensors.numpy import load, save

from models.captioning.template import class_words, with_class
from models.data.pixels import Floats
from models.data.records import Artifact, Checkpoint, Record, Sample
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.settings.prompt_text import LabelText


class EmbedBackbone(Record):
    """The embedded backbone, EfficientNet-Lite0."""

    # It is fixed.
    NON_KEY_FIELDS: ClassVar = frozenset({"model"})

    model: Literal["backbone"] = Field("backbone", description="the embedded backbone.")


class EmbedClip(Record):
    """CLIP, which compares images with words too."""

    # What the features of an image do not depend on.
    NON_KEY_FIELDS: ClassVar = frozenset({"class_names", "sentence"})

    model: Literal["clip"] = Field("clip", description="CLIP, which needs weights.")
    checkpoint: Checkpoint = Field(
        "openai/clip-vit-base-patch32",
        description="Weights of CLIP; openai/clip-vit-large-patch14 is larger.",
    )
    class_names: bool = Field(
        True, description="Also reject an image that is more like the name of another class."
    )
    sentence: LabelText = Field(
        "a photo of {a}{label}", description="What a class is called; knows {label} and {a}."
    )

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint in use."""
        return (self.checkpoint,)


Embed = Annotated[EmbedBackbone | EmbedClip, Field(discriminator="model")]
# Trillion operations of CLIP's base network: an image of 224 px, and a sentence.
_CLIP_TFLOP = 0.009
_CLIP_TEXT_TFLOP = 0.006


@stage(
    "embed",
    version=1,
    media="safetensors",
    batch_size=64,
    cost=Cost(ms=20, mb_per_mp=0.02, tflop={"clip": (_CLIP_TFLOP, 0)}),
)
def embed(inputs: Sequence[StageInput], parameters: Embed) -> Iterator[StageOutput]:
    """``features``: float32 (1280,) of the backbone; of CLIP float32 (512,) or (768,), length 1."""
    if isinstance(parameters, EmbedClip):
        yield from _run_clip(parameters, [item.load() for item in inputs])
        return
    from models.embedding.cache import embed_files

    files = [
        item.run.store.fetch(item.job.inputs[0], item.run.scratch / "images") for item in inputs
    ]
    for features in embed_files(files):
        yield StageOutput(save({"features": features}))


def name_class(parameters: EmbedClip, label: str) -> str:
    """The sentence that stands for a class."""
    return with_class(parameters.sentence, class_words(label))


def one_per_sentence(_parameters: EmbedClip, sentences: Sequence[str]) -> list[Job]:
    """A job per sentence, which has no other input."""
    return [Job((), {"sentence": sentence}, name=sentence) for sentence in sentences]


@stage(
    "embed_text",
    version=1,
    media="safetensors",
    plan=one_per_sentence,
    cost=Cost(ms=20, megapixels=lambda *_: 0.0, tflop={"clip": (_CLIP_TEXT_TFLOP, 0)}),
)
def embed_text(inputs: Sequence[StageInput], parameters: EmbedClip) -> Iterator[StageOutput]:
    """``features`` of each sentence, which may be compared with those of images."""
    yield from _run_clip(parameters, [str(item.job.variant["sentence"]) for item in inputs])


def _run_clip(parameters: EmbedClip, contents: Sequence[Any]) -> Iterator[StageOutput]:
    from models.embedding.clip import Clip, ClipRequest
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    requests = [ClipRequest(content) for content in contents]
    for result in infer(Clip, parameters.checkpoints, requests):
        if isinstance(result, InvalidOutput):
            yield StageOutput(reject_reason=result.reason)
        else:
            yield StageOutput(save({"features": result}))


def load_features(run: RunContext, embedded: Artifact) -> Floats:
    """The features of an image, float32 (values,).

    Raises:
        UnreadableArtifactError: the bytes are gone or damaged.
    """
    return np.asarray(load(run.store.read(embedded))["features"], np.float32)


def one_document(samples: Sequence[Sample], embedded: Sequence[Artifact], name: str) -> list[Job]:
    """One job over the features of many images, each with what is known of the image as metadata.

    Names, classes and splits are part of its key, since folders may be renamed.
    """
    rows = [
        {
            "image": sample.image.id,
            "name": sample.name,
            "label": sample.label,
            "split": sample.split,
            "generator": sample.generator,
            "source": " + ".join(sample.sources),
        }
        for sample in samples
    ]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    inputs = tuple(
        artifact.model_copy(update={"metadata": row})
        for artifact, row in zip(embedded, rows, strict=True)
    )
    return [Job(inputs, {"images": digest}, name=name)]
