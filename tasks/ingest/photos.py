"""Photos of a folder become the source images of a run; what can't be used is refused by name."""

from pathlib import Path

from models.data.records import Sources
from models.data.splits.splitting import SplitParameters, split
from tasks.engine.run_context import RunContext
from tasks.ingest.file_notes import find_changed, list_notes
from tasks.ingest.find_sources import count_scenes, find_sources
from tasks.ingest.groups import link_groups, read_groups
from tasks.ingest.left_out import (
    describe_alike,
    explain_left_out,
    warn_of_empty_splits,
    warn_of_untaught,
)
from tasks.ingest.read_files import Ingest, ingest_files
from tasks.ingest.same_pictures import find_same_pictures
from tasks.ingest.source_images import make_crops, make_source_images
from tasks.ingest.whole_photos import make_scenes, make_whole_images


def ingest_photos(
    run: RunContext, folder: Path, parameters: Ingest, splits: SplitParameters
) -> Sources:
    """Find, read and split the photos of a folder, or the objects annotated in them.

    A class without enough photos is left out, with the reasons.

    Raises:
        ValueError: the folder has a wrong layout, an annotation is malformed, or the groups of
            photos can't be read.
    """
    found = find_sources(folder, parameters.format)
    group_of = read_groups(found.photos, splits, [entry.file for entry in found.refused])
    files = ingest_files(run, parameters, {photo.file: photo.path for photo in found.photos})
    changed = find_changed(found.photos, files.photos)
    unusable = {entry.file for entry in changed}
    readable = [
        photo for photo in found.photos if photo.file in files.photos and photo.file not in unusable
    ]
    same = find_same_pictures(run, readable, files.photos, splits)
    used = {photo.file for photo in readable}
    group_of = {file: group for file, group in group_of.items() if file in used}
    is_annotated = any(photo.size is not None for photo in readable)
    are_scenes = parameters.objects == "scene"
    if is_annotated and parameters.objects == "crop":
        candidates, unused, notes = make_crops(
            run,
            readable,
            files.photos,
            files.digests,
            parameters.crop_margin,
            parameters.min_side,
            splits.family_bits,
            [*same.links, *link_groups(group_of)],
        )
    else:
        make_images = make_scenes if is_annotated and are_scenes else make_whole_images
        candidates, unused, notes = make_images(readable, files.photos, files.digests, group_of)
    result = split([candidate.hashed() for candidate in candidates], splits, same.links)
    refused = [*found.refused, *files.refused, *changed, *unused, *result.refused]
    labels = {item.label for photo in found.photos for item in photo.objects}
    lost = labels - {item.label for candidate in candidates for item in candidate.objects}
    small = {**result.left_out, **dict.fromkeys(lost, "has no photo that can be used")}
    left_out = explain_left_out(found.photos, small, refused)
    images = make_source_images(run, candidates, result)
    counted = count_scenes(found.photos) if are_scenes else None
    return Sources(
        images=tuple(images),
        refused=tuple(sorted((entry.file, entry.reason) for entry in refused)),
        notes=(*found.notes, *notes, *same.notes, *result.notes, *list_notes(files.photos)),
        left_out=left_out,
        warnings=(
            *(f"the class {label!r} {why}; it is left out" for label, why in left_out.items()),
            *(warn_of_untaught(images) if are_scenes else ()),
            *(warn_of_empty_splits(images, splits) if are_scenes else ()),
            *describe_alike(found.photos, refused, counted),
        ),
    )
