"""Manifest: a Parquet table with a row per image, accepted or rejected, real or synthetic."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.data.files import write_atomic
from models.data.records import Sample

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("file", pa.string()),
        ("class", pa.string()),
        ("split", pa.string()),
        ("family", pa.string()),
        ("generator", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("datasets", pa.list_(pa.string())),
        ("stages", pa.list_(pa.string())),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("models", pa.list_(pa.string())),
        ("licences", pa.list_(pa.string())),
        ("annotations", pa.string()),
        ("scores", pa.string()),
        ("accepted", pa.bool_()),
        ("reason", pa.string()),
    ]
)


def write_manifest(
    path: Path,
    samples: Sequence[Sample],
    refused: Sequence[tuple[str, str]],
    datasets: Mapping[str, Sequence[Sample]],
) -> None:
    """Write the table, whole or not at all, in the order of the samples' names.

    Args:
        refused: photos that could not be used, with the reasons.
    """
    names: dict[str, list[str]] = {}
    for dataset, chosen in datasets.items():
        for sample in chosen:
            names.setdefault(sample.name, []).append(dataset)
    families = {sample.name: sample.family for sample in samples if not sample.generator}
    rows = [
        _row(sample, families.get(sample.sources[0], ""), names.get(sample.name, []))
        for sample in sorted(samples, key=lambda sample: (sample.name, sample.image.id))
    ]
    rows += [
        {"file": file, "generator": "", "accepted": False, "reason": reason}
        for file, reason in refused
    ]
    content = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), content)
    write_atomic(path, content.getvalue().to_pybytes())


def _row(sample: Sample, family: str, datasets: list[str]) -> dict[str, Any]:
    annotations = [
        {"label": note.label, "box": list(note.box) if note.box else None, "mask": bool(note.mask)}
        for note in sample.annotations
    ]
    return {
        "key": sample.image.id,
        "file": f"{sample.name}.jpg" if sample.is_accepted else None,
        "class": sample.label,
        "split": sample.split,
        "family": family,
        "generator": sample.generator,
        "sources": list(sample.sources),
        "datasets": datasets,
        "stages": list(sample.lineage.stages),
        "seed": sample.lineage.seed,
        "prompt": sample.lineage.prompt,
        "models": list(sample.lineage.models),
        "licences": list(sample.lineage.licences),
        "annotations": json.dumps(annotations),
        "scores": json.dumps(sample.scores, sort_keys=True),
        "accepted": sample.is_accepted,
        "reason": sample.reject_reason,
    }
