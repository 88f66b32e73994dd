"""Held-out index: the hashes of all val and test photos, in one document."""

from collections.abc import Iterator, Sequence

from models.data.records import Artifact, Record
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.stage import stage


class HeldOut(Record):
    """The index of held-out photos has no settings."""


def all_together(_parameters: Record, *inputs: Sequence[Artifact]) -> list[Job]:
    """One job with every input."""
    return [Job(tuple(artifact for sequence in inputs for artifact in sequence))]


@stage("heldout", version=1, media="json", plan=all_together)
def index_heldout(inputs: Sequence[StageInput], parameters: HeldOut) -> Iterator[StageOutput]:
    """``{"photos": [{"name", "hashes"}]}`` of the val and test photos, mirror images included."""
    for item in inputs:
        rows = [
            {
                "name": photo.name,
                "hashes": [photo.metadata["dhash"], photo.metadata["dhash_mirrored"]],
            }
            for photo in item.job.inputs
        ]
        yield StageOutput({"photos": rows})
