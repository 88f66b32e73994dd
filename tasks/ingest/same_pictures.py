"""Same pictures: which photos show one picture, cropped, turned, mirrored or framed."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from models.data.pixels import rgb
from models.data.records import Artifact, Record
from models.data.splits.splitting import SplitParameters
from models.leakage.local_features import (
    LocalFeatures,
    find_local_features,
    pack_features,
    unpack_features,
)
from models.leakage.same_picture import PictureMatch, match_pictures
from models.leakage.shortlist import NEAREST, Pairs, list_all_pairs, shortlist_pairs
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.ingest.find_sources import FoundPhoto

_NAMED = 3


class Settings(Record):
    """The search has no settings: its limits are measured, see benchmarks/RESULTS.md."""


@dataclass(frozen=True)
class SamePictures:
    """Pairs of files that show one picture, and notes."""

    links: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@stage("local_features", version=2)
def local_features(inputs: Sequence[StageInput], _settings: Settings) -> Iterator[StageOutput]:
    """The local features of a photo as a table, see `pack_features`."""
    for item in inputs:
        yield StageOutput(pack_features(find_local_features(rgb(item.load()))))


@stage("photo_features", version=2)
def photo_features(inputs: Sequence[StageInput], _settings: Settings) -> Iterator[StageOutput]:
    """The features of the backbone for a photo and its quarter turns, uint16 (4, 1280).

    The largest feature of the four is 65535: only the ratios of features are compared.
    """
    from models.embedding.backbone import embed

    for item in inputs:
        photo = rgb(item.load())
        turns = [np.ascontiguousarray(np.rot90(photo, quarters)) for quarters in range(4)]
        features = embed(turns)
        largest = max(float(features.max()), 1e-9)
        yield StageOutput(np.rint(features / largest * 65535).astype(np.uint16))


def with_its_partners(
    _settings: Settings, queries: Sequence[tuple[Artifact, Sequence[Artifact]]]
) -> list[Job]:
    """One job per photo, with the photos that it is compared with."""
    return [Job((first, *others)) for first, others in queries]


@stage("same_picture", version=1, media="json", plan=with_its_partners)
def same_picture(inputs: Sequence[StageInput], _settings: Settings) -> Iterator[StageOutput]:
    """``metadata["matches"]``: number of the partner, agreeing features and coverage."""
    unpacked: dict[str, LocalFeatures] = {}
    for item in inputs:
        for position, table in enumerate(item.job.inputs):
            if table.digest not in unpacked:
                unpacked[table.digest] = unpack_features(item.load(position))
        first, *others = (unpacked[table.digest] for table in item.job.inputs)
        found = [(number, match_pictures(first, other)) for number, other in enumerate(others)]
        matches = [{"partner": number, **asdict(match)} for number, match in found if match]
        yield StageOutput({}, metadata={"matches": matches})


def match_photos(
    run: RunContext, photos: Sequence[Artifact], pairs: Pairs
) -> list[tuple[int, int, PictureMatch]]:
    """The pairs of photos that share at least 20 features, in order.

    Args:
        photos: normalised photos in the store.
        pairs: indices of the photos to compare, the first one ascending.
    """
    tables = local_features(run, Settings(), photos)
    partners: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs:
        partners[first].append(second)
    queries = [(tables[i], [tables[j] for j in others]) for i, others in partners.items()]
    documents = same_picture(run, Settings(), queries)
    found = []
    for (first, others), document in zip(partners.items(), documents, strict=True):
        for match in document.metadata["matches"]:
            shared = PictureMatch(match["agreeing"], match["coverage"])
            found.append((first, others[match["partner"]], shared))
    return found


def find_same_pictures(
    run: RunContext,
    photos: Sequence[FoundPhoto],
    images: Mapping[str, Artifact],
    parameters: SplitParameters,
) -> SamePictures:
    """The photos that show one picture, where a split depends on it.

    All pairs are compared if they are few, else each photo with the 10 that are most alike.

    Args:
        images: the normalised photo by file.
        parameters: whether photos are compared at all; if not, a note says so.
    """
    if parameters.group_by != "pictures":
        note = f"photos were not compared with one another (split.group_by={parameters.group_by})"
        return SamePictures(notes=(note,))
    if not parameters.compare_pictures:
        return SamePictures(notes=("photos were compared by hash alone (split.compare_pictures)",))
    splits = [photo.split for photo in photos]
    listed = [images[photo.file] for photo in photos]
    notes = []
    pairs = list_all_pairs(splits)
    if pairs is None:
        tables = [run.load(table) for table in photo_features(run, Settings(), listed)]
        views = [np.stack(view).astype(np.float32) for view in zip(*tables, strict=True)]
        pairs = shortlist_pairs(views[0], views[1:], splits, NEAREST)
        notes.append(
            f"{len(photos)} photos: local features compared with the {NEAREST} most alike photos of"
            " each, hashes with all"
        )
    found = match_photos(run, listed, pairs)
    same = [(photos[i].file, photos[j].file) for i, j, match in found if match.is_same_picture]
    places = [(photos[i].file, photos[j].file) for i, j, m in found if not m.is_same_picture]
    if places:
        named = "; ".join(f"{first} and {second}" for first, second in places[:_NAMED])
        more = f"; and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        notes.append(f"pairs of photos that may show the same place, all used: {named}{more}")
    return SamePictures(tuple(same), tuple(notes))
