"""Images of a dataset as files on this machine: training libraries read paths, not artifacts."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from models.data.records import Artifact
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.run_context import RunContext
from tasks.store.store import Missing


def fetch_images(run: RunContext, ids: Sequence[str]) -> list[Path]:
    """A file per artifact id, in order: the store's own where it is a folder, else a fetched copy.

    Raises:
        Missing, Corrupt: an image was removed or is damaged; run again to make it anew.
    """
    found = find_artifacts(run, ids)
    folder = run.scratch / "images"
    with verify_inputs_on_error(run.store, found.values()):
        return [run.store.fetch(found[one], folder) for one in ids]


def find_artifacts(run: RunContext, ids: Sequence[str]) -> dict[str, Artifact]:
    """The records of artifacts by id.

    Raises:
        Missing: one was removed from the store; run again to make it anew.
    """
    keys: dict[str, list[str]] = defaultdict(list)
    for one in ids:
        stage, _, key = one.partition("/")
        keys[stage].append(key)
    found = {
        artifact.id: artifact
        for stage, wanted in keys.items()
        for artifact in run.store.find(stage, list(dict.fromkeys(wanted))).values()
    }
    gone = next((one for one in ids if one not in found), None)
    if gone is not None:
        raise Missing(f"{run.store.url}: {gone} was removed; run the same command again")
    return found
