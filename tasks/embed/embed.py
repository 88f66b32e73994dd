"""Embed: the features of images by the embedded backbone, computed once and kept in the store."""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np
from safetensors.numpy import load, save

from models.data.pixels import Floats
from models.data.records import Artifact, Record, Sample
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage


class Embed(Record):
    """The backbone is fixed, so there are no settings."""


@stage("embed", version=1, media="safetensors", batch_size=64, cost=Cost(ms=20, mb_per_mp=0.02))
def embed(inputs: Sequence[StageInput], _parameters: Embed) -> Iterator[StageOutput]:
    """``features``: float32 (1280,)."""
    from models.embedding.cache import embed_files

    files = [
        item.run.store.fetch(item.job.inputs[0], item.run.scratch / "images") for item in inputs
    ]
    for features in embed_files(files):
        yield StageOutput(save({"features": features}))


def load_features(run: RunContext, embedded: Artifact) -> Floats:
    """The features of an image, float32 (1280,).

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
