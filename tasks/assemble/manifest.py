"""Manifest: one row per image of a run, accepted or rejected, real or synthetic, as a Parquet
table.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.data.records import Sample

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("file", pa.string()),
        ("class", pa.string()),
        ("split", pa.string()),
        ("origin", pa.string()),
        ("source_photo", pa.string()),
        ("datasets", pa.list_(pa.string())),
        ("stage_chain", pa.list_(pa.string())),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("models", pa.list_(pa.string())),
        ("licences", pa.list_(pa.string())),
        ("boxes", pa.string()),
        ("scores", pa.string()),
        ("accepted", pa.bool_()),
        ("reason", pa.string()),
    ]
)


def write_manifest(
    path: Path,
    samples: Sequence[Sample],
    refused: Sequence[tuple[str, str]],
    arms: Mapping[str, Sequence[Sample]],
) -> None:
    """Write the table, whole or not at all, in the order of the samples' names.

    Args:
        path: ``manifest.parquet``.
        samples: every sample of the run.
        refused: photos that were not taken in, with the reasons.
        arms: the train images of each dataset, to say where a sample went.
    """
    drawn: dict[str, list[str]] = {}
    for arm, chosen in arms.items():
        for sample in chosen:
            drawn.setdefault(sample.name, []).append(arm)
    rows = [
        _row(sample, drawn.get(sample.name, []))
        for sample in sorted(samples, key=lambda one: (one.name, one.image.id))
    ]
    rows += [
        {"file": file, "origin": "real", "accepted": False, "reason": reason}
        for file, reason in refused
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f".{path.name}.writing")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), writing)
    writing.replace(path)


def _row(sample: Sample, arms: list[str]) -> dict[str, Any]:
    return {
        "key": sample.image.id,
        "file": f"{sample.name}.jpg" if sample.accepted else None,
        "class": sample.label,
        "split": sample.split,
        "origin": sample.origin,
        "source_photo": sample.source,
        "datasets": arms,
        "stage_chain": list(sample.chain),
        "seed": sample.seed,
        "prompt": sample.prompt,
        "models": list(sample.models),
        "licences": list(sample.licences),
        "boxes": json.dumps([list(box) for box in sample.boxes]),
        "scores": json.dumps(sample.scores, sort_keys=True),
        "accepted": sample.accepted,
        "reason": sample.reason,
    }
