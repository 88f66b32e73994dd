"""Paste objects: cut-outs pasted into real photos, at boxes that were placed before.

The scene is the photo itself: its real objects stay, and are labelled too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from models.compositing.box_layout import lay_out_in_boxes
from models.compositing.compose_scene import label_objects, paint_scene
from models.compositing.cut_out import CutOut, prepare_cut_out
from models.compositing.scene_layout import Layout
from models.data.pixels import encode_jpeg, rgb
from models.data.records import Artifact, SourceImage
from models.placement.describe import describe_scene, new_object
from tasks.engine.content_cache import ContentCache
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.copy_paste import ComposeScenes

# The stage that learns sizes and places of a class; all other inputs are cut-outs of that class.
_LEARNED = "real_objects"
# Cut-outs to choose from, per object of a scene.
_CHOICE = 4
_CACHE_BYTES = 128 * 2**20
_prepared = ContentCache(_CACHE_BYTES, lambda cut_out: cut_out.bytes)


def choose_cut_outs(
    parameters: ComposeScenes,
    scene: SourceImage,
    classes: Sequence[str],
    made: Mapping[str, Sequence[Artifact]],
) -> tuple[Artifact, ...]:
    """What a scene needs of each class: what was learned of it, then `bank` of its cut-outs.

    Args:
        classes: those that get new objects; none listed: all.
        made: what the bank made, by class.
    """
    chosen: list[Artifact] = []
    for label in sorted(set(made) & set(classes or made)):
        learned = [artifact for artifact in made[label] if artifact.stage == _LEARNED]
        cut_outs = [artifact for artifact in made[label] if artifact.stage != _LEARNED]
        if learned and cut_outs:
            chosen += [*learned, *_draw(scene.name, cut_outs)[: parameters.bank]]
    return tuple(chosen)


def split_by_class(inputs: Sequence[Artifact]) -> dict[str, list[Artifact]]:
    """The inputs of a scene by class: what was learned of it first, then its cut-outs."""
    by_class: dict[str, list[Artifact]] = {}
    label = ""
    for artifact in inputs:
        if artifact.stage == _LEARNED:
            label = str(artifact.variant["label"])
        by_class.setdefault(label, []).append(artifact)
    return by_class


def scenes_with_boxes(
    parameters: ComposeScenes,
    scenes: Sequence[SourceImage],
    placements: Sequence[Artifact],
    cut_outs: Sequence[Artifact],
) -> list[Job]:
    """`blends` jobs per placement: its photo, the placement, and cut-outs to choose from."""
    image_of = {scene.name: scene.image for scene in scenes}
    count = _CHOICE * (parameters.placing.per_scene if parameters.placing else 1)
    jobs = []
    for placement in placements if cut_outs else ():
        image = image_of[placement.name]
        drawn = _draw(f"{image.digest} {placement.variant['place']}", cut_outs)[:count]
        variant = {name: placement.variant[name] for name in ("label", "place")}
        jobs += [
            Job((image, placement, *drawn), {**variant, "blend": blend}, placement.name)
            for blend in range(parameters.blends)
        ]
    return jobs


def what_decides(parameters: ComposeScenes) -> dict[str, Any]:
    """The settings of objects and of their edges; those of layouts don't matter."""
    names = {"max_rotation", "flip", "upside_down", "brightness", "colour", "feather"}
    return parameters.model_dump(mode="json", include={*names, "blending", "quality"})


@stage(
    "paste_objects",
    version=1,
    media="jpg",
    plan=scenes_with_boxes,
    key_params=what_decides,
    cost=Cost(ms=5, ms_per_mp=20, mb_per_mp=0.45),
    shown_as="real photos with pasted objects",
)
def paste_objects(inputs: Sequence[StageInput], parameters: ComposeScenes) -> Iterator[StageOutput]:
    """RGB JPEGs of the size of the photo. ``metadata``: ``objects``, the real ones and the new
    ones (``is_new``) with label, box, mask and photo of each; ``sources``, the photos that are
    seen; ``composition``, equal for all images of a photo; ``counted_as``, the new objects' class.

    An image is rejected if no pasted object has a px.
    """
    for item in inputs:
        image, placement = rgb(item.load()), item.load(1)
        seed = int(_composition(item.job, parameters)[:16], 16)
        rng = np.random.default_rng(seed)
        layout = lay_out_in_boxes(
            [_load_prepared(item, at) for at in range(2, len(item.job.inputs))],
            [tuple(entry["box"]) for entry in placement["placed"]],
            (placement["width"], placement["height"]),
            parameters,
            rng,
        )
        order = rng.permutation(len(parameters.blending))
        blending = parameters.blending[int(order[int(item.job.variant["blend"]) % len(order)])]
        metadata = {**_describe(item.job, layout, placement), "blending": blending}
        if not any(entry["is_new"] for entry in metadata["objects"]):
            yield StageOutput(reject_reason="object too small to be pasted")
            continue
        scene = paint_scene(image, layout, blending, parameters.feather)
        yield StageOutput(encode_jpeg(scene, parameters.quality), metadata=metadata)


def _composition(job: Job, parameters: ComposeScenes) -> str:
    """A digest of all that decides a scene but for its blending."""
    variant = {name: value for name, value in job.variant.items() if name != "blend"}
    work = [[artifact.digest for artifact in job.inputs], variant, what_decides(parameters)]
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


def _describe(job: Job, layout: Layout, placement: Mapping[str, Any]) -> dict[str, Any]:
    label = str(job.variant["label"])
    new = [
        new_object(label, entry.box, entry.mask, job.inputs[2 + entry.number].name)
        for entry in label_objects(layout)
    ]
    sources = sorted({str(job.name), *(entry["source"] for entry in new)})
    size = {side: placement[side] for side in ("width", "height")}
    return {**size, **describe_scene(job.inputs[0], label, placement, new, sources)}


def _load_prepared(item: StageInput, position: int) -> CutOut:
    """The cut-out that is an input of a job, decoded once per process."""
    digest = item.job.inputs[position].digest
    cut_out: CutOut | None = _prepared.get(digest)
    if cut_out is None:
        cut_out = prepare_cut_out(item.load(position))
        _prepared.put(digest, cut_out)
    return cut_out


def _draw(seed: str, artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The artifacts in an order that follows from a text and their bytes."""

    def number(artifact: Artifact) -> tuple[str, str, str]:
        text = f"{seed}\n{artifact.digest}"
        return hashlib.sha256(text.encode()).hexdigest(), artifact.name, artifact.id

    return sorted(artifacts, key=number)
