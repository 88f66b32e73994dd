"""Images of a dataset as files on this machine: training libraries read paths, not artifacts."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from models.data.records import Artifact
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.run_context import RunContext
from tasks.store.errors import MissingArtifactError


def fetch_images(run: RunContext, artifact_ids: Sequence[str]) -> list[Path]:
    """Return a file per artifact, in order: the store's own in a folder store, else a copy.

    Raises:
        UnreadableArtifactError: an image is missing or corrupt; run again to recompute it.
    """
    artifacts = find_artifacts(run, artifact_ids)
    folder = run.scratch / "images"
    with verify_inputs_on_error(run.store, artifacts.values()):
        return [run.store.fetch(artifacts[artifact_id], folder) for artifact_id in artifact_ids]


def find_artifacts(run: RunContext, artifact_ids: Sequence[str]) -> dict[str, Artifact]:
    """Return the records of artifacts by id.

    Raises:
        MissingArtifactError: artifacts are not in the store; run again to recompute them.
    """
    keys: dict[str, list[str]] = defaultdict(list)
    for artifact_id in artifact_ids:
        stage, _, key = artifact_id.partition("/")
        keys[stage].append(key)
    found = {
        artifact.id: artifact
        for stage, stage_keys in keys.items()
        for artifact in run.store.find(stage, stage_keys).values()
    }
    missing = [artifact_id for artifact_id in artifact_ids if artifact_id not in found]
    if missing:
        run.store.mark_lost(missing)
        raise MissingArtifactError(
            f"store {run.store.url}: {missing[0]} is missing; run the same command again"
        )
    return found
