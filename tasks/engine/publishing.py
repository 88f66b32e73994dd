"""From the output of a stage to an artifact in the store: its record, its bytes, its licence."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from models.checkpoints.local import licence_of
from models.data import pixels
from models.data.records import Artifact, Media, Record
from tasks.engine.jobs import StageOutput, checkpoints_of
from tasks.engine.run_context import RunContext


def publish(run: RunContext, record: dict[str, Any], output: StageOutput) -> Artifact:
    """Write the output of a job to the store, and return its record.

    Args:
        record: the fields of the record that don't depend on the output.
    """
    cpu, content = time.thread_time(), output.content
    blob = _encode(record["media"], content) if output.reject_reason is None else b""
    artifact = Artifact(
        **record,
        digest=hashlib.sha256(blob).hexdigest(),
        size=len(blob),
        prompt=output.prompt,
        dtype=str(getattr(content, "dtype", "json")),
        shape=getattr(content, "shape", None),
        metadata=dict(output.metadata),
        reject_reason=output.reject_reason,
    )
    encoded_at = time.thread_time()
    run.store.put(artifact, blob)
    run.published(artifact)
    if artifact.reject_reason is None:
        run.spend(artifact.stage, "encode", encoded_at - cpu)
        run.spend(artifact.stage, "store", time.thread_time() - encoded_at)
        run.remember(artifact, content)
    return artifact


def describe_model(parameters: Record) -> dict[str, Any]:
    """The fields of a record that name the model, its revisions and its terms.

    Without weights, the terms are those of synthset itself.
    """
    checkpoints = checkpoints_of(parameters)
    model = getattr(parameters, "model", None)
    licences = " + ".join(dict.fromkeys(licence_of(reference) for reference in checkpoints))
    return {
        "model": model,
        "revision": " + ".join(checkpoints) or None,
        "licence": None if model is None else licences or "Apache-2.0",
    }


def _encode(media: Media, content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, Path):
        return content.read_bytes()
    if media == "png":
        return pixels.encode_png(content)
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
