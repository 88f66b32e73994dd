"""Counts which changed copies of photos the searches for near-duplicates find, and false alarms."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.changes import Change, list_changes
from benchmarks.machine import table
from models.data.photo_file.open_image import SUFFIXES
from models.data.pixels import Floats, Pixels
from models.data.read_photo import read_photo
from models.data.splits.near_duplicates import (
    HashedPhoto,
    group_near_duplicates,
    later_near_duplicates,
)
from models.data.splits.splitting import SplitParameters
from models.embedding.backbone import embed
from models.leakage.local_features import LocalFeatures, find_local_features
from models.leakage.same_picture import match_pictures
from models.leakage.shortlist import NEAREST
from models.screening.quality import dhash, dhash_mirrored, dhash_turned

PLANTED, COMPARED, LONGEST_SIDE = 30, 90, 1024
BITS = SplitParameters().near_duplicate_bits


@dataclass(frozen=True)
class SearchedPhoto:
    """A photo with the hashes and local features that the searches compare."""

    file: str
    pixels: Pixels
    hashed: HashedPhoto
    features: LocalFeatures


def main(_folder: Path, photos: Path) -> None:
    """Print the copies found per kind, the false alarms, and times per photo and per pair."""
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, COMPARED).astype(int)]
    chosen = list(dict.fromkeys(chosen))
    started = time.process_time()
    pixels = [
        read_photo(path.read_bytes(), max_side=LONGEST_SIDE, min_side=16).pixels for path in chosen
    ]
    read_s = time.process_time() - started
    searched = [
        describe(path.relative_to(photos).as_posix(), photo)
        for path, photo in zip(chosen, pixels, strict=True)
    ]
    describe_ms = 1e3 * (time.process_time() - started - read_s) / len(searched)
    views = embed_views(pixels)
    step = max(1, len(searched) // PLANTED)
    rows = [count(name, change, searched, views, step) for name, change in list_changes().items()]
    print(table(["change", "planted", "hash", "+ features", f"{NEAREST} most alike"], rows))
    print_false_alarms(searched)
    print(f"\n{describe_ms:.1f} ms a photo for its hashes and local features.")


def describe(file: str, pixels: Pixels) -> SearchedPhoto:
    """Compute the hashes and local features of a photo."""
    plain = np.ascontiguousarray(pixels)
    hashed = HashedPhoto(
        file, "", None, file, dhash(plain), dhash_mirrored(plain), turned=dhash_turned(plain)
    )
    return SearchedPhoto(file, plain, hashed, find_local_features(plain))


def embed_views(photos: Sequence[Pixels]) -> Floats:
    """Return unit features of each photo and its quarter turns, float32 (4, n, 1280)."""
    turned = [np.ascontiguousarray(np.rot90(p, q)) for q in range(4) for p in photos]
    features = embed(turned, threads=1)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(unit.reshape(4, len(photos), -1), np.float32)


def count(
    name: str, change: Change, searched: Sequence[SearchedPhoto], views: Floats, step: int
) -> list[str | int]:
    """Return a row of the table: copies planted, and copies found by each search."""
    numbers = range(0, len(searched), step)
    copies = [describe(f"copy {number}", change(searched[number].pixels)) for number in numbers]
    by_hash = [
        len(group_near_duplicates([searched[number].hashed, copy.hashed], BITS)) == 1
        for number, copy in zip(numbers, copies, strict=True)
    ]
    matches = [
        match_pictures(searched[number].features, copy.features)
        for number, copy in zip(numbers, copies, strict=True)
    ]
    by_either = [
        hashed or (match is not None and match.is_same_picture)
        for hashed, match in zip(by_hash, matches, strict=True)
    ]
    queries = embed([copy.pixels for copy in copies], threads=1)
    likeness = np.max([queries @ view.T for view in views], axis=0)
    ranks = [(row > row[number]).sum() for number, row in zip(numbers, likeness, strict=True)]
    listed = sum(int(rank) < NEAREST for rank in ranks)
    return [name, len(copies), sum(by_hash), sum(by_either), listed]


def print_false_alarms(searched: Sequence[SearchedPhoto]) -> None:
    """Print the pairs of different photos that a search finds as same picture or same place."""
    near = later_near_duplicates([photo.hashed for photo in searched], BITS)
    by_hash = {(first, other) for first, later in near for other in later.tolist()}
    started = time.process_time()
    pairs = list(combinations(range(len(searched)), 2))
    matches = [(pair, match_pictures(*(searched[i].features for i in pair))) for pair in pairs]
    seconds = time.process_time() - started
    print(f"\n{len(pairs)} pairs of different photos, {1e3 * seconds / len(pairs):.2f} ms a pair:")
    rows = []
    for pair, match in matches:
        if match is None and pair not in by_hash:
            continue
        kind = "same hash" if match is None else "same place"
        if match is not None and match.is_same_picture:
            kind = "same picture"
        figures = [0, 0.0] if match is None else [match.agreeing, match.coverage]
        rows.append([*(searched[i].file for i in pair), kind, pair in by_hash, *figures])
    print(table(["photo", "photo", "found", "by hash", "agreeing", "coverage"], rows))
