"""Artifacts of a few bytes, like those of a stage that computes nothing."""

import hashlib

from models.data.records import Artifact, Media

BLOB = b"nothing was computed"


def artifact_of(stage: str, name: str, media: Media, text: str = "") -> Artifact:
    """Return an artifact with the bytes `BLOB`; its key depends on all arguments."""
    key = hashlib.sha256(f"{stage} {name} {text}".encode()).hexdigest()
    digest = hashlib.sha256(BLOB).hexdigest()
    return Artifact(
        key=key, stage=stage, version=1, name=name, media=media, digest=digest, size=len(BLOB)
    )
