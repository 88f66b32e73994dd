"""The models' work of a finished run and nothing else: no store, no PNG, no records, no Prefect.

The records of a run say all that is needed to do it again: which stage made what from which inputs
with which parameters and seed. So the peer of the overhead benchmark does exactly the same work.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, cast

import numpy as np

from flows.config.recipe import Recipe
from flows.generators.multiview import STAGES
from models.data.records import Artifact, Record
from tasks.assemble.annotate import Label
from tasks.engine.run_context import RunContext
from tasks.engine.stage import Job, Stage, StageInput
from tasks.screen.measure import Measure

STAGE_OF = {stage.name: stage for stage in STAGES}


class Contents(dict[str, Any]):
    """Contents by artifact id, in memory, as a piece asks its workbench for them."""

    def load(self, artifact: Artifact) -> Any:
        """The content of an artifact."""
        return self[artifact.id]


def replay(made: Mapping[str, Artifact], recipe: Recipe, contents: Contents) -> None:
    """Compute everything that ``expand`` made, in the same order, into ``contents``.

    Args:
        made: the artifacts of a run, in its order.
        recipe: its recipe.
        contents: holds what the run began with: the photo and the index of held-out photos.
    """
    todo = [one for one in made.values() if one.id not in contents]
    for (name, parameters), group in groupby(todo, key=lambda one: (one.stage, one.parameters)):
        stage: Stage[Any] = STAGE_OF[name]
        settings = _settings(recipe, name).model_validate(parameters)
        artifacts = list(group)
        inputs = [_piece(one, made, contents) for one in artifacts]
        products = (
            product
            for batch in _batches(inputs, stage.batch_size)
            for product in stage.compute(batch, settings)
        )
        for artifact, product in zip(artifacts, products, strict=True):
            if isinstance(product.content, np.ndarray):
                product.content.setflags(write=False)
            contents[artifact.id] = product.content


def _piece(artifact: Artifact, made: Mapping[str, Artifact], contents: Contents) -> StageInput:
    inputs = tuple(made[parent] for parent in artifact.parents)
    return StageInput(Job(inputs, artifact.variant), artifact.key, cast(RunContext, contents))


def _batches(inputs: Sequence[StageInput], size: int) -> Iterator[Sequence[StageInput]]:
    return (inputs[first : first + size] for first in range(0, len(inputs), size))


def _settings(recipe: Recipe, stage: str) -> type[Record]:
    if stage == "measure":
        return Measure
    if stage == "label":
        return Label
    section: Record = getattr(recipe, stage)
    return type(section)
