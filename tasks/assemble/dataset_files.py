"""What each split of a dataset holds: its image and mask files, and its annotations (COCO)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from models.data.records import Artifact, Sample


class ForeignFileError(ValueError):
    """A folder that is to be written holds a file that no run of synthset made."""


@dataclass(frozen=True)
class Split:
    """The samples of one split of one dataset."""

    dataset: str
    name: str
    samples: tuple[Sample, ...]

    @property
    def folder(self) -> str:
        """Its image folder, relative to ``--out``. The test split is the same for all datasets."""
        return "datasets/test" if self.name == "test" else f"datasets/{self.dataset}/{self.name}"

    @property
    def masks(self) -> str:
        """Its folder of masks, relative to ``--out``."""
        return "masks/test" if self.name == "test" else f"masks/{self.dataset}/{self.name}"


def list_files(splits: Sequence[Split]) -> dict[str, Artifact]:
    """The artifact of each image and mask file, by its path relative to ``--out``."""
    files: dict[str, Artifact] = {}
    for split in splits:
        for sample in split.samples:
            name = _inside(split.folder, f"{sample.name}.jpg", sample)
            files[name] = sample.image
            files.update(mask_files(split, sample))
    return files


def mask_files(split: Split, sample: Sample) -> Iterator[tuple[str, Artifact]]:
    """The path of each mask file of a sample, relative to ``--out``, and its artifact."""
    masks = [note.mask for note in sample.annotations if note.mask is not None]
    for number, mask in enumerate(masks):
        # As in the names of generated images, so that it is never the name of another photo.
        suffix = "" if len(masks) == 1 else f"_object{number}"
        yield _inside(split.masks, f"{sample.name}{suffix}.png", sample), mask


def describe_coco(split: Split, classes: Sequence[str]) -> str:
    """The split as a COCO file; file names are relative to ``--out``."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(split.samples, start=1):
        size = sample.image.metadata
        images.append(
            {
                "id": number,
                "file_name": f"{split.folder}/{sample.name}.jpg",
                "width": size["width"],
                "height": size["height"],
                "label": sample.label,
                "sample": sample.name,
                "generator": sample.generator,
                "sources": list(sample.sources),
                "scores": sample.scores,
                "sha256": sample.image.digest,
                "artifact": sample.image.id,
                "masks": [name for name, _ in mask_files(split, sample)],
            }
        )
        for note in sample.annotations:
            if note.box is None and note.mask is None:
                continue
            entry: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": classes.index(note.label) + 1,
                "iscrowd": 0,
            }
            if note.box is not None:
                entry["bbox"] = list(note.box)
                entry["area"] = note.box[2] * note.box[3]
            if note.mask is not None:
                entry["segmentation"] = {
                    "size": [size["height"], size["width"]],
                    "counts": note.mask.metadata["rle"],
                }
                entry["area"] = note.mask.metadata["area"]
            annotations.append(entry)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": at, "name": name} for at, name in enumerate(classes, start=1)],
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n"


def _inside(folder: str, name: str, sample: Sample) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.parts[0] != sample.label:
        raise ForeignFileError(
            f"the store has a sample called {sample.name!r} of class {sample.label!r}, which would "
            f"be written outside of {folder}; use another --store"
        )
    return f"{folder}/{name}"
