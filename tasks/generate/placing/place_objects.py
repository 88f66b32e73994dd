"""Place objects: the boxes of new objects in real photos, before anything is painted.

Generators that paint into real photos share this stage. With the same settings, photos and regions
they get the same artifacts, so that their images can be compared.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from safetensors.numpy import load

from models.data.formats.polygons import encode_mask
from models.data.pixels import Bools, Floats, Pixels, rgb
from models.data.records import Artifact, SourceImage
from models.data.trimaps import solid_mask
from models.placement.context import Relevance, crop_surroundings, score_places
from models.placement.free_places import Scene
from models.placement.place import (
    Candidates,
    PlacedBox,
    find_candidates,
    place_at_random,
    place_by_relevance,
)
from models.placement.real_sizes import measure_boxes
from models.placement.region import region_of
from tasks.engine.content_cache import ContentCache
from tasks.engine.jobs import Job, StageInput, StageOutput, default_key_params
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.placing import PlaceObjects

_KEPT_SCENES = 64
# Versions of a scene choose among the same candidates.
_candidates = ContentCache(_KEPT_SCENES, lambda _: 1)


def places_in_scenes(
    parameters: PlaceObjects,
    label: str,
    scenes: Sequence[SourceImage],
    learned: Sequence[Artifact],
    regions: Sequence[Artifact] = (),
) -> list[Job]:
    """`versions` jobs per scene that may get objects.

    Args:
        label: the class of the new objects.
        scenes: real photos; those of `scene_classes` are used. Their objects with a box stay, of
            whatever class.
        learned: what stage ``real_objects`` made of the class; none: no job.
        regions: masks of `SharedInputs.regions`: one for all scenes, or one per scene.
    """
    jobs = []
    for scene in scenes if learned else ():
        if not parameters.is_scene({note.label for note in scene.annotations}):
            continue
        masks: list[Artifact] = []
        objects: list[dict[str, Any]] = []
        for note in scene.annotations:
            if note.box is not None:
                mask = None if note.mask is None else len(masks)
                masks += [] if note.mask is None else [note.mask]
                objects.append({"label": note.label, "box": list(note.box), "mask": mask})
        region = region_for(scene, regions)
        described = {
            "objects": objects,
            "has_region": bool(region),
            "is_outside": bool(regions and not region),
        }
        inputs = (
            scene.image.model_copy(update={"metadata": described}),
            learned[0],
            *region,
            *masks,
        )
        work = [objects, described["is_outside"]]
        digest = hashlib.sha256(json.dumps(work).encode()).hexdigest()
        variant: dict[str, int | str] = {"label": label, "objects": digest}
        jobs += [
            Job(inputs, {**variant, "place": number}, scene.name)
            for number in range(parameters.versions)
        ]
    return jobs


def what_decides(parameters: PlaceObjects) -> dict[str, Any]:
    """The settings that are part of a key; in random context nothing is compared."""
    fields = default_key_params(parameters)
    if parameters.context == "random":
        for name in ("candidates", "top_share", "context_size"):
            del fields[name]
    return fields


def region_for(scene: SourceImage, regions: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """The mask of a scene's region, or none: the one for all scenes, or that of its file's name."""
    stem = PurePosixPath(scene.file).stem
    return tuple(region for region in regions if region.variant["of"] in ("", stem))[:1]


@stage(
    "place_objects",
    version=1,
    media="json",
    plan=places_in_scenes,
    key_params=what_decides,
    cost=Cost(ms=15, megabytes=lambda _: 0.002),
)
def place_objects(inputs: Sequence[StageInput], parameters: PlaceObjects) -> Iterator[StageOutput]:
    """``width`` and ``height`` of the scene in px; ``placed``, the new objects: ``label``, ``box``
    (x, y, width, height in whole px), ``context`` and ``score``; ``objects``, the real ones that
    stay: ``label``, ``box`` and ``mask`` (COCO run lengths or null). ``metadata`` has ``placed``.

    A scene without a free place is rejected.
    """
    for item in inputs:
        described = item.job.inputs[0].metadata
        if described["is_outside"]:
            yield StageOutput(
                reject_reason="no region: no mask of `regions` is named like the photo"
            )
            continue
        image = rgb(item.load())
        label = str(item.job.variant["label"])
        placed = [
            {
                "label": label,
                "box": list(place.box),
                "context": parameters.context,
                "score": place.score,
            }
            for place in _place(item, image, parameters)
        ]
        if not placed:
            yield StageOutput(reject_reason="no free place for an object of a real size")
            continue
        content = {
            "width": image.shape[1],
            "height": image.shape[0],
            "placed": placed,
            "objects": _with_masks(item),
        }
        yield StageOutput(content, metadata={"placed": placed})


def _place(item: StageInput, image: Pixels, parameters: PlaceObjects) -> list[PlacedBox]:
    learned = load(item.run.store.read(item.job.inputs[1]))
    objects = item.job.inputs[0].metadata["objects"]
    height, width = image.shape[:2]
    sizes = _sizes(item, learned["sizes"], (width, height), parameters)
    region = _load_region(item, parameters, width, height)
    scene = Scene(width, height, tuple(tuple(entry["box"]) for entry in objects), region)
    if parameters.context == "random":
        return place_at_random(scene, sizes, parameters, item.rng())
    digest = _digest_of_scene(item, parameters)
    candidates: Candidates | None = _candidates.get(digest)
    if candidates is None:
        rng = np.random.default_rng(int(digest[:16], 16))
        relevance = Relevance(learned["weights"], float(learned["bias"][0]))
        scoring = _Scoring(image, relevance, parameters.context_size)
        candidates = find_candidates(scene, sizes, parameters, rng, scoring)
        _candidates.put(digest, candidates)
    return place_by_relevance(candidates, parameters, item.rng())


class _Scoring:
    """Scores of the places of one scene, by features of the embedded backbone."""

    def __init__(self, image: Pixels, relevance: Relevance, context_size: float) -> None:
        self.image, self.relevance, self.context_size = image, relevance, context_size

    def __call__(self, boxes: Sequence[Any]) -> Floats:
        from models.embedding.backbone import embed

        crops = [crop_surroundings(self.image, box, self.context_size) for box in boxes]
        return score_places(embed(crops), self.relevance)


def _sizes(
    item: StageInput, learned: Floats, frame: tuple[int, int], parameters: PlaceObjects
) -> Floats:
    """Sizes of the class, or those of the scene's own objects, where it has any."""
    if parameters.sizes == "class":
        return learned
    objects, label = item.job.inputs[0].metadata["objects"], item.job.variant["label"]
    boxes = [entry["box"] for entry in objects if entry["label"] == label]
    own = measure_boxes([(boxes, frame)])
    return own if len(own) else learned


def _load_region(
    item: StageInput, parameters: PlaceObjects, width: int, height: int
) -> Bools | None:
    mask = item.load(2) if item.job.inputs[0].metadata["has_region"] else None
    return region_of(parameters.region, mask, width, height)


def _digest_of_scene(item: StageInput, parameters: PlaceObjects) -> str:
    """A digest of all that decides the candidates of a scene; versions have the same."""
    variant = {name: value for name, value in item.job.variant.items() if name != "place"}
    digests = [artifact.digest for artifact in item.job.inputs]
    work = [digests, variant, what_decides(parameters)]
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


def _with_masks(item: StageInput) -> list[dict[str, Any]]:
    """The real objects of a scene with their masks as run lengths."""
    described = item.job.inputs[0].metadata
    first = 3 if described["has_region"] else 2
    objects = []
    for entry in described["objects"]:
        mask = None
        if entry["mask"] is not None:
            mask = encode_mask(solid_mask(item.load(first + entry["mask"])))
        objects.append({**entry, "mask": mask})
    return objects
