"""Embed: the features of images by the embedded backbone, computed once and kept in the store."""

from collections.abc import Iterator, Sequence

import numpy as np
from safetensors.numpy import load, save

from models.data.pixels import Floats
from models.data.records import Artifact, Record
from tasks.engine.jobs import StageInput, StageOutput
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
