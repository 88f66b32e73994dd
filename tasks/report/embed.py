"""Embed: what an image shows, as the features of the embedded backbone; one document per image."""

import base64
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from models.data import pixels
from models.data.pixels import Floats
from models.data.records import Artifact, Record
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage


class Embed(Record):
    """The network is fixed, so that figures of different runs can be compared."""

    model: Literal["tf_efficientnet_lite0"] = "tf_efficientnet_lite0"


@stage("embed", version=1, media="json", batch_size=64, cost=Cost(ms=25, mb_per_mp=0.02))
def embed(inputs: Sequence[StageInput], parameters: Embed) -> Iterator[StageOutput]:
    """``{"features"}``: 1280 numbers as little-endian float16 in base64."""
    from models.embedding.backbone import embed as embed_images

    features = embed_images([pixels.rgb(item.load()) for item in inputs])
    for row in features:
        blob = row.astype("<f2").tobytes()
        yield StageOutput({"features": base64.b64encode(blob).decode("ascii")})


def load_features(run: RunContext, embedded: Artifact) -> Floats:
    """The features of one embedded image: float32 (1280,), all 0 or more."""
    blob = base64.b64decode(run.load(embedded)["features"])
    return np.frombuffer(blob, "<f2").astype(np.float32)
