"""WebDataset shards: tar files of images, class indices and annotations."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tasks.export.rows import ExportRow, Rows, describe_objects

IMAGES_PER_SHARD = 1000


def write_webdataset(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write ``<split>-000000.tar``, ...: per image ``<key>.jpg``, ``<key>.json``, ``<key>.cls``.

    The same images always give the same bytes.
    """
    for split, listed in rows.items():
        for start in range(0, len(listed), IMAGES_PER_SHARD):
            shard = to / f"{split}-{start // IMAGES_PER_SHARD:06d}.tar"
            with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
                for index in range(start, min(start + IMAGES_PER_SHARD, len(listed))):
                    _add_row(tar, f"{index:08d}", listed[index], classes)


def _add_row(tar: tarfile.TarFile, key: str, row: ExportRow, classes: Sequence[str]) -> None:
    record = {
        "name": row.name,
        "label": row.label,
        "width": row.annotated.width,
        "height": row.annotated.height,
        "objects": describe_objects(row),
    }
    members = {
        row.file.suffix.lower(): row.file.read_bytes(),
        ".json": json.dumps(record, ensure_ascii=False).encode(),
        ".cls": str(classes.index(row.label)).encode(),
    }
    for suffix, data in members.items():
        member = tarfile.TarInfo(key + suffix)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
