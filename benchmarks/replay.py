"""Repeats the computation of a finished run without store, PNG, records and Prefect.

The records of a run name stage, inputs, parameters and seed of each artifact. So the loop that the
overhead benchmark compares with computes exactly the same artifacts.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, cast, get_type_hints

import numpy as np
from pydantic import TypeAdapter

from flows.generators import multiview
from models.data.records import Artifact, Record
from tasks.assemble.annotate import annotate
from tasks.assemble.resize import resize
from tasks.engine.jobs import Job, StageInput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import Stage
from tasks.screen.measure import measure
from tasks.screen.screen import screen

STAGES: dict[str, Stage[Any]] = {
    stage.name: stage
    for stage in (*vars(multiview).values(), measure, screen, resize, annotate)
    if isinstance(stage, Stage)
}


class Contents(dict[str, Any]):
    """Contents by artifact id, in memory; a stage reads them like those of a run."""

    def load(self, artifact: Artifact) -> Any:
        """Return the content of an artifact."""
        return self[artifact.id]


def replay(made: Mapping[str, Artifact], contents: Contents) -> None:
    """Compute all artifacts of a run in their order, and add them to ``contents``.

    Args:
        made: the artifacts of a run, in its order.
        contents: holds the first inputs: the photo and the index of held-out photos.
    """
    missing = [artifact for artifact in made.values() if artifact.id not in contents]
    for (name, parameters), group in groupby(
        missing, key=lambda artifact: (artifact.stage, artifact.parameters)
    ):
        stage = STAGES[name]
        settings = _settings(stage, parameters)
        artifacts = list(group)
        inputs = [_input(artifact, made, contents) for artifact in artifacts]
        outputs = (
            output
            for batch in _batches(inputs, stage.batch_size)
            for output in stage.compute(batch, settings)
        )
        for artifact, output in zip(artifacts, outputs, strict=True):
            if isinstance(output.content, np.ndarray):
                output.content.setflags(write=False)
            contents[artifact.id] = output.content


def _input(artifact: Artifact, made: Mapping[str, Artifact], contents: Contents) -> StageInput:
    inputs = tuple(made[parent] for parent in artifact.parents)
    return StageInput(Job(inputs, artifact.variant), artifact.key, cast(RunContext, contents))


def _batches(inputs: Sequence[StageInput], size: int) -> Iterator[Sequence[StageInput]]:
    return (inputs[first : first + size] for first in range(0, len(inputs), size))


def _settings(stage: Stage[Any], parameters: Mapping[str, Any]) -> Record:
    """Return the settings of a stage from the parameters that its artifacts record."""
    kind = get_type_hints(stage.compute, include_extras=True)["parameters"]
    settings: Record = TypeAdapter(kind).validate_python(parameters)
    return settings
