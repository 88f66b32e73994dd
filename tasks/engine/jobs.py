"""What stage files declare: the jobs of a stage, what a job reads, and what a stage makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.data.records import Artifact, Record
from tasks.engine.run_context import RunContext


@dataclass(frozen=True)
class Job:
    """One artifact to make: its inputs, and what tells it from its siblings (``{"view": 3}``).

    It inherits the name and the variant of its first input, unless it has a ``name`` of its own.
    """

    inputs: tuple[Artifact, ...]
    variant: Mapping[str, int | str] = field(default_factory=dict)
    name: str | None = None

    def names(self, stage: str) -> dict[str, Any]:
        """The fields of the artifact's record that say what it is made of, and its name."""
        name, variant = self.name or stage, dict(self.variant)
        if self.name is None and self.inputs:
            name, variant = self.inputs[0].name, {**self.inputs[0].variant, **self.variant}
        parents = tuple(artifact.id for artifact in self.inputs)
        return {"name": name, "variant": variant, "parents": parents}


@dataclass(frozen=True)
class StageOutput:
    """What a stage made of one job: content, or the reason why there is none.

    ``content`` is an array (png), bytes, the path of a file, or a mapping (json).
    """

    content: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    reject_reason: str | None = None


@dataclass(frozen=True)
class StageInput:
    """A job to compute: its key, the seed that derives from it, and the contents of its inputs."""

    job: Job
    key: str
    run: RunContext

    @property
    def seed(self) -> int:
        """63 bits of the key: the same work has the same seed on every machine."""
        return int(self.key[:16], 16) >> 1

    def rng(self) -> np.random.Generator:
        """A new generator, seeded by the key."""
        return np.random.default_rng(self.seed)

    def load(self, position: int = 0) -> Any:
        """The content of one input: an image array, or the mapping of a JSON artifact."""
        return self.run.load(self.job.inputs[position])


def one_job_per_input(
    _parameters: Record, inputs: Sequence[Artifact], *others: Sequence[Artifact]
) -> list[Job]:
    """A job per input, with the artifact of the same name and variant from each other sequence.
    An input without such a partner has no job: the partner was rejected."""
    partners = [{pairing_key(artifact): artifact for artifact in sequence} for sequence in others]
    return [
        Job((first, *(sequence[pairing_key(first)] for sequence in partners)))
        for first in inputs
        if all(pairing_key(first) in sequence for sequence in partners)
    ]


def pairing_key(artifact: Artifact, *without: str) -> tuple[Any, ...]:
    """Name and variant of an artifact, less ``without``: equal for artifacts of the same image."""
    variant = {name: value for name, value in artifact.variant.items() if name not in without}
    return artifact.name, *sorted(variant.items())


def default_key_params(parameters: Record) -> dict[str, Any]:
    """What of a stage's parameters is part of its keys: all but their `NON_KEY_FIELDS`."""
    return parameters.model_dump(mode="json", exclude=set(parameters.NON_KEY_FIELDS))


def checkpoints_of(parameters: Record) -> tuple[str, ...]:
    """The checkpoints that a stage loads with these settings, ``id@revision``; none for a
    classical model.
    """
    references: tuple[str, ...] = getattr(parameters, "checkpoints", ())
    return references
