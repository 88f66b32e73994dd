"""Screen: which finished images a dataset may hold; the others keep their reason and scores."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from models.data.records import Artifact, Record
from models.screening.heldout import FAR, NEAR, HeldOutHashes
from models.screening.quality import hamming
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage

# The stage of the document of held-out photos; a run without any gives none.
HELDOUT = "heldout"


class Screen(Record):
    """Limits that an image must keep. Fractions are 0..1; bits are of a 256-bit difference hash."""

    min_contrast: float = Field(0.04, ge=0, le=1, description="Below: blank.")
    min_sharpness: float = Field(2.0, ge=0, description="Below: blurred (variance of Laplacian).")
    min_object: float = Field(0.01, ge=0, le=1, description="Share of the image; below: too small.")
    max_object: float = Field(0.85, ge=0, le=1, description="Share of the image; above: too large.")
    max_cut: float = Field(0.12, ge=0, le=1, description="Share of the outline on the border.")
    sibling_bits: int = Field(8, ge=0, le=256, description="At or under: a near-duplicate.")
    heldout_bits: int = Field(20, ge=0, le=256, description="At or under: too near to val or test.")


def one_per_reference(
    _parameters: Screen, measures: Sequence[Artifact], heldout: Sequence[Artifact]
) -> list[Job]:
    """One verdict document over all scenes of a reference."""
    return [Job((*measures, *heldout))] if measures else []


@stage("screen", version=2, media="json", plan=one_per_reference)
def screen(inputs: Sequence[StageInput], parameters: Screen) -> Iterator[StageOutput]:
    """``{"images": [{"digest", "accepted", "reason", "scores"}]}``, in the order of the images."""
    for item in inputs:
        measures = [at for at, one in enumerate(item.job.inputs) if one.stage != HELDOUT]
        rows = [row for position in measures for row in item.load(position)["images"]]
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
    """
    codes = [int(row["dhash"], 16) for row in rows]
    kept: list[tuple[int, str | None]] = []
    verdicts = []
    for row, code, (bits, owner) in zip(rows, codes, heldout.nearest(codes), strict=True):
        composition = row.get("composition")
        twin = min(
            (
                hamming(code, other)
                for other, its_composition in kept
                if composition is None or composition != its_composition
            ),
            default=FAR,
        )
        scores = {
            name: row[name] for name in ("contrast", "sharpness", "object_fraction", "cut_fraction")
        } | {"heldout_bits": bits, "sibling_bits": twin}
        reason = _first_reason(scores, limits)
        if reason is None and bits <= limits.heldout_bits:
            reason = f"too near to a held-out photo: {owner}"
        if reason is None:
            kept.append((code, composition))
        figures = {name: round(float(x), 5) for name, x in scores.items() if x is not None}
        verdict = {"digest": row["digest"], "accepted": reason is None, "reason": reason}
        verdicts.append({**verdict, "scores": figures})
    return verdicts


# The index of the last call: it is the same for every item of a run.
_index: dict[tuple[str, int], HeldOutHashes] = {}


def _held_out(item: StageInput, limits: Screen) -> HeldOutHashes:
    max_bits = max(limits.heldout_bits, NEAR)
    positions = [at for at, one in enumerate(item.job.inputs) if one.stage == HELDOUT]
    if not positions:
        return HeldOutHashes([], max_bits)
    key = item.job.inputs[positions[0]].digest, max_bits
    index = _index.get(key)
    if index is None:
        index = HeldOutHashes(item.load(positions[0])["photos"], max_bits)
        _index.clear()
        _index[key] = index
    return index


def _first_reason(scores: dict[str, Any], limits: Screen) -> str | None:
    fraction = scores["object_fraction"]
    checks = {"blank": scores["contrast"] < limits.min_contrast}
    # An image without a mask has no figures about its object.
    if fraction is not None:
        checks["object lost"] = fraction == 0
        checks["mask too small"] = fraction < limits.min_object
        checks["mask too large"] = fraction > limits.max_object
        checks["object cut"] = scores["cut_fraction"] > limits.max_cut
    checks["blurred"] = scores["sharpness"] < limits.min_sharpness
    checks["near-duplicate of a sibling"] = scores["sibling_bits"] <= limits.sibling_bits
    return next((reason for reason, holds in checks.items() if holds), None)
