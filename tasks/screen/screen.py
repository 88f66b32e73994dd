"""Screen: which finished images a dataset may hold; the others are kept with their reason and
score.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from models.data.near_duplicates import find_near_hashes, pack_hashes
from models.data.records import Artifact, Record
from models.screening.quality import hamming
from tasks.engine.run_context import RunContext
from tasks.engine.stage import Job, StageInput, StageOutput, stage

# Scores tell how near a held-out photo is up to here, so that near misses show.
NEAR = 24
# What they say where none is near: as far as hashes can be.
FAR = 256


class Screen(Record):
    """Limits that an image must keep. Fractions are 0..1; bits are of a 256-bit difference hash."""

    min_contrast: float = Field(0.04, ge=0, le=1, description="Below: blank.")
    min_sharpness: float = Field(2.0, ge=0, description="Below: blurred (variance of Laplacian).")
    min_object: float = Field(0.01, ge=0, le=1, description="Share of the image; below: too small.")
    max_object: float = Field(0.85, ge=0, le=1, description="Share of the image; above: too large.")
    max_cut: float = Field(0.12, ge=0, le=1, description="Share of the outline on the border.")
    sibling_bits: int = Field(8, ge=0, le=256, description="At or under: a near-duplicate.")
    heldout_bits: int = Field(20, ge=0, le=256, description="At or under: too near to val or test.")


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


def one_per_reference(
    _parameters: Screen, measures: Sequence[Artifact], heldout: Sequence[Artifact]
) -> list[Job]:
    """One verdict document over all scenes of a reference."""
    return [Job((*measures, *heldout))] if measures else []


class HeldOutHashes:
    """The hashes of held-out photos, for finding the nearest of those that are near.

    Args:
        photos: names and hashes, as `index_heldout` writes them.
        reach: bits of 256 beyond which a photo is not near.
    """

    def __init__(self, photos: Sequence[dict[str, Any]], reach: int) -> None:
        self._owners = [photo["name"] for photo in photos for _ in photo["hashes"]]
        hashes = [int(text, 16) for photo in photos for text in photo["hashes"]]
        self._hashes, self._reach = pack_hashes(hashes), reach

    def nearest(self, codes: Sequence[int]) -> list[tuple[int, str]]:
        """Per hash, the bits to the nearest held-out photo and its name, the first among equals;
        `FAR` and no name where none is near."""
        nearest = [(FAR, "")] * len(codes)
        found = find_near_hashes(pack_hashes(codes), self._hashes, self._reach)
        # Ordered by bits, farthest and last first, so that the nearest and first one stays.
        for at in np.lexsort((found.match, found.bits))[::-1]:
            nearest[found.query[at]] = (int(found.bits[at]), self._owners[found.match[at]])
        return nearest


@stage("screen", version=2, media="json", plan=one_per_reference)
def screen(inputs: Sequence[StageInput], parameters: Screen) -> Iterator[StageOutput]:
    """``{"images": [{"digest", "accepted", "reason", "scores"}]}``, in the order of the images."""
    for item in inputs:
        last = len(item.job.inputs) - 1
        rows = [row for place in range(last) for row in item.load(place)["images"]]
        verdicts = judge(rows, _held_out(item, parameters), parameters)
        rejected = sum(not verdict["accepted"] for verdict in verdicts)
        yield StageOutput(
            {"images": verdicts}, metadata={"images": len(rows), "rejected": rejected}
        )


def verdicts_by_image(
    run: RunContext, measures: Sequence[Artifact], verdicts: Sequence[Artifact]
) -> dict[str, dict[str, Any]]:
    """The verdict on each image, by the image's id."""
    images = [image for measured in measures for image in measured.parents]
    rows = [row for verdict in verdicts for row in run.load(verdict)["images"]]
    return dict(zip(images, rows, strict=True))


def judge(
    rows: Sequence[dict[str, Any]], heldout: HeldOutHashes, limits: Screen
) -> list[dict[str, Any]]:
    """A verdict per measured image: accepted, or the first reason that holds, with its scores.

    ``heldout_bits`` of the scores is `FAR` where no held-out photo is near.

    Args:
        rows: measures as `tasks.screen.measure` writes them, all of one reference.
        heldout: the val and test photos.
        limits: the limits to keep.
    """
    codes = [int(row["dhash"], 16) for row in rows]
    kept: list[int] = []
    verdicts = []
    for row, code, (bits, owner) in zip(rows, codes, heldout.nearest(codes), strict=True):
        twin = min((hamming(code, other) for other in kept), default=FAR)
        scores = {
            name: row[name] for name in ("contrast", "sharpness", "object_fraction", "cut_fraction")
        } | {"heldout_bits": bits, "sibling_bits": twin}
        reason = _first_reason(scores, limits)
        if reason is None and bits <= limits.heldout_bits:
            reason = f"too near to a held-out photo: {owner}"
        if reason is None:
            kept.append(code)
        verdicts.append(
            {
                "digest": row["digest"],
                "accepted": reason is None,
                "reason": reason,
                "scores": {name: round(float(value), 5) for name, value in scores.items()},
            }
        )
    return verdicts


# The held-out photos of the last index: they are the same for every reference of a run.
_indexed: dict[tuple[str, int], HeldOutHashes] = {}


def _held_out(item: StageInput, limits: Screen) -> HeldOutHashes:
    last = len(item.job.inputs) - 1
    reach = max(limits.heldout_bits, NEAR)
    known = item.job.inputs[last].digest, reach
    found = _indexed.get(known)
    if found is None:
        found = HeldOutHashes(item.load(last)["photos"], reach)
        _indexed.clear()
        _indexed[known] = found
    return found


def _first_reason(scores: dict[str, Any], limits: Screen) -> str | None:
    found = {
        "blank": scores["contrast"] < limits.min_contrast,
        "object lost": scores["object_fraction"] == 0,
        "mask too small": scores["object_fraction"] < limits.min_object,
        "mask too large": scores["object_fraction"] > limits.max_object,
        "object cut": scores["cut_fraction"] > limits.max_cut,
        "blurred": scores["sharpness"] < limits.min_sharpness,
        "near-duplicate of a sibling": scores["sibling_bits"] <= limits.sibling_bits,
    }
    return next((reason for reason, holds in found.items() if holds), None)
