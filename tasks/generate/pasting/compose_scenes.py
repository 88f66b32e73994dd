"""Compose scenes: cut-outs pasted onto backdrops, with the label, box and mask of each object."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from models.compositing.compose_scene import label_objects, paint_scene
from models.compositing.cut_out import CutOut, prepare_cut_out
from models.compositing.distractors import draw_shape
from models.compositing.scene_layout import Layout, draw_layout
from models.data.pixels import Pixels, encode_jpeg
from models.data.records import Artifact
from tasks.engine.content_cache import ContentCache
from tasks.engine.jobs import Job, StageInput, StageOutput, default_key_params
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.copy_paste import ComposeScenes

# The stage whose outputs are pasted; all other inputs are backdrops.
CUT_OUT = "cut_out"
_CACHE_BYTES = 256 * 2**20


def choose_bank(
    parameters: ComposeScenes, name: str, made: Mapping[str, Sequence[Artifact]]
) -> tuple[Artifact, ...]:
    """The cut-outs and backdrops that the scenes of a photo are drawn from.

    Args:
        name: the photo, ``<class>/<stem>``.
        made: cut-outs and backdrops by class.
    """
    label = name.partition("/")[0]
    every = {artifact.id: artifact for found in made.values() for artifact in found}
    backdrops = [artifact for artifact in every.values() if artifact.stage != CUT_OUT]
    cut_outs = [artifact for artifact in every.values() if artifact.stage == CUT_OUT]
    mates = [a for a in cut_outs if _class_of(a) == label and a.name != name]
    needs_others = parameters.one_class_share < 1 or (
        parameters.distractors == "other_classes" and parameters.max_distractors > 0
    )
    own = [a for a in cut_outs if a.name == name and (needs_others or _class_of(a) == label)]
    others = [a for a in cut_outs if needs_others and _class_of(a) != label and a not in own]
    drawn = [_draw(name, found)[: parameters.bank] for found in (mates, others, backdrops)]
    return (*own, *drawn[0], *drawn[1], *drawn[2])


def scenes_of_photo(parameters: ComposeScenes, name: str, bank: Sequence[Artifact]) -> list[Job]:
    """The scenes of one photo, `blends` versions of each.

    The first input is a cut-out of the photo itself, or of another one of its class where it has
    none; the last one is the backdrop.
    """
    label = name.partition("/")[0]
    backdrops = [artifact for artifact in bank if artifact.stage != CUT_OUT]
    cut_outs = [artifact for artifact in bank if artifact.stage == CUT_OUT]
    mates = [artifact for artifact in cut_outs if _class_of(artifact) == label]
    leads = [artifact for artifact in mates if artifact.name == name] or mates
    if not leads or not backdrops:
        return []
    jobs = []
    for scene in range(parameters.per_photo):
        rng = np.random.default_rng(_number(name, leads[0].digest, str(scene)))
        lead = leads[scene % len(leads)]
        count = int(rng.integers(parameters.min_objects, parameters.max_objects + 1))
        is_mixed = rng.random() >= parameters.one_class_share
        objects = [lead, *_take(cut_outs if is_mixed else mates, lead, count - 1, rng)]
        number = int(rng.integers(parameters.min_distractors, parameters.max_distractors + 1))
        others = [artifact for artifact in cut_outs if _class_of(artifact) != label]
        unlabelled = (
            _take(others, lead, number, rng) if parameters.distractors == "other_classes" else []
        )
        backdrop = backdrops[int(rng.integers(len(backdrops)))]
        variant: dict[str, int | str] = {
            "objects": ", ".join(artifact.name for artifact in objects),
            "count": f"{len(objects)}",
            "distractors": f"{number}",
        }
        for blend in range(parameters.blends):
            inputs = (*objects, *unlabelled, backdrop)
            jobs.append(Job(inputs, {**variant, "scene": scene, "blend": blend}, name=name))
    return jobs


@stage(
    "compose_scenes",
    version=1,
    media="jpg",
    plan=scenes_of_photo,
    cost=Cost(
        ms=2,
        ms_per_mp=8,
        mb_per_mp=0.45,
        megapixels=lambda parameters, _: parameters.width * parameters.height / 1e6,
    ),
    shown_as="scenes of pasted objects",
)
def compose_scenes(
    inputs: Sequence[StageInput], parameters: ComposeScenes
) -> Iterator[StageOutput]:
    """RGB JPEGs. ``metadata``: ``objects`` with label, box, mask, visible share and photo of each;
    ``sources``, the photos of all that was pasted; ``composition``, equal for all versions.
    """
    composition = ""
    for item in inputs:
        if (digest := _composition(item.job, parameters)) != composition:
            composition = digest
            background, layout = _draw_scene(item, parameters, int(digest[:16], 16))
            metadata = _describe(item.job, layout, digest)
        order = np.random.default_rng(int(composition[16:32], 16)).permutation(
            len(parameters.blending)
        )
        version = int(order[int(item.job.variant["blend"]) % len(order)])
        blending = parameters.blending[version]
        image = paint_scene(background, layout, blending, parameters.feather)
        blob = encode_jpeg(image, parameters.quality)
        yield StageOutput(blob, metadata={**metadata, "blending": blending})


def _composition(job: Job, parameters: ComposeScenes) -> str:
    """A digest of all that decides a scene but for its blending."""
    variant = {name: value for name, value in job.variant.items() if name != "blend"}
    digests = [artifact.digest for artifact in job.inputs]
    work = [digests, variant, default_key_params(parameters)]
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


def _draw_scene(item: StageInput, parameters: ComposeScenes, seed: int) -> tuple[Pixels, Layout]:
    rng = np.random.default_rng(seed)
    last = len(item.job.inputs) - 1
    background = _cut_background(_load_prepared(item, last), parameters, rng)
    cut_outs = [_load_prepared(item, position) for position in range(last)]
    count = int(item.job.variant["count"])
    distractors = cut_outs[count:]
    if parameters.distractors == "shapes":
        number = int(item.job.variant["distractors"])
        distractors = [draw_shape(background, rng) for _ in range(number)]
    return background, draw_layout(cut_outs[:count], distractors, parameters, rng)


def _cut_background(
    backdrop: Pixels, parameters: ComposeScenes, rng: np.random.Generator
) -> Pixels:
    """A part of the backdrop at the size of a scene, mirrored at random."""
    width, height = parameters.width, parameters.height
    top = int(rng.integers(backdrop.shape[0] - height + 1))
    left = int(rng.integers(backdrop.shape[1] - width + 1))
    part = backdrop[top : top + height, left : left + width]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def _describe(job: Job, layout: Layout, composition: str) -> dict[str, Any]:
    objects = [
        {
            "label": _class_of(job.inputs[entry.number]),
            "box": list(entry.box),
            "mask": entry.mask,
            "visibility": round(entry.visibility, 4),
            "source": job.inputs[entry.number].name,
        }
        for entry in label_objects(layout)
    ]
    sources = sorted({artifact.name for artifact in job.inputs[:-1]})
    return {"objects": objects, "sources": sources, "composition": composition[:16]}


def _load_prepared(item: StageInput, position: int) -> Any:
    """The cut-out or the backdrop that is an input of a job, decoded once per process."""
    artifact = item.job.inputs[position]
    content = _prepared.get(artifact.digest)
    if content is None:
        content = item.load(position)
        if artifact.stage == CUT_OUT:
            content = prepare_cut_out(content)
        _prepared.put(artifact.digest, content)
    return content


def _bytes_of(content: CutOut | Pixels) -> int:
    return content.bytes if isinstance(content, CutOut) else content.nbytes


# Scenes of several photos share cut-outs and backdrops.
_prepared = ContentCache(_CACHE_BYTES, _bytes_of)


def _class_of(cut_out: Artifact) -> str:
    return str(cut_out.variant.get("class", cut_out.name.partition("/")[0]))


def _draw(name: str, artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The artifacts in an order that follows from a photo and their bytes."""
    return sorted(artifacts, key=lambda a: (_number(name, a.digest), a.name))


def _take(
    artifacts: Sequence[Artifact], lead: Artifact, count: int, rng: np.random.Generator
) -> list[Artifact]:
    """Some cut-outs, each once before any is taken again, the lead last."""
    rest = [artifact for artifact in artifacts if artifact.id != lead.id]
    taken: list[Artifact] = []
    pool = rest or list(artifacts)
    while pool and len(taken) < count:
        order = rng.permutation(len(pool)).tolist()
        taken += [pool[at] for at in order[: count - len(taken)]]
        pool = list(artifacts)
    return taken


def _number(*texts: str) -> int:
    return int(hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16], 16)
