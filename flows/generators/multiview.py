"""Expand one reference photo into 7 · t · c · k² labelled images: the figure of the study, top to
bottom.
"""

import logging
import threading
from contextvars import ContextVar
from typing import Any

from prefect import flow

from flows.config.recipe import Recipe
from flows.execution.child_runs import failure_told
from flows.execution.progress import stage_progress, this_run
from models.data.records import Artifact, Reference
from tasks.assemble.annotate import Label, label
from tasks.assemble.resize import resize
from tasks.engine.results import Expansion, expansion_key, gather_samples, save_expansion
from tasks.engine.run_context import RunContext
from tasks.engine.stage import Stage
from tasks.engine.work_items import Expanded, SharedInputs, Told, load_order, tell
from tasks.generate.augment import augment
from tasks.generate.background import background
from tasks.generate.caption import caption
from tasks.generate.depth import depth
from tasks.generate.image_to_image import baseline
from tasks.generate.masked_depth import masked_depth
from tasks.generate.multiview import multiview
from tasks.generate.outpaint import outpaint
from tasks.generate.segment import segment
from tasks.generate.upscale import upscale
from tasks.screen.measure import Measure, measure
from tasks.screen.screen import screen, verdicts_by_image
from tasks.store.errors import CorruptArtifactError, MissingArtifactError
from tasks.store.store import STAGES_WAIT_S, Store, open_store

log = logging.getLogger("synthset.expand")

REPAIRS = 8
STAGES: tuple[Stage[Any], ...] = (
    *(upscale, multiview, augment, segment, depth, masked_depth),
    *(caption, background, outpaint, baseline, measure, screen, resize, label),
)


stopped: ContextVar[threading.Event | None] = ContextVar("stopped", default=None)


def is_stopped() -> bool:
    """Whether the run that this thread works for was told to stop."""
    event = stopped.get()
    return event is not None and event.is_set()


def key_of(recipe: Recipe, reference: Reference, beside: SharedInputs) -> str:
    """The key of the reference's expansion under a recipe."""
    versions = {stage.name: stage.version for stage in STAGES}
    together = (*beside.plates, *beside.heldout)
    return expansion_key(reference, recipe.expanding(), versions, together)


@flow(name="expand_reference", flow_run_name="{reference} · expand", validate_parameters=False)
def expand_reference(reference: str, store: str, order: str) -> Expanded:
    """Expand one reference photo, computing only what the store lacks.

    When an artifact turns out damaged or gone, its record is forgotten and the stages are walked
    again: the one that makes it repairs it, and only that. How it ended is told in the store too,
    for a parent run on another machine.

    Args:
        reference: name of the photo, for people; the order says which it is.
        store: artifact store.
        order: key of the order, as the parent run placed it.

    Raises:
        UnreadableArtifactError: an input from the parent run is missing or corrupt: its photo, a
            plate, the held-out photos' index. The parent must recompute it.
        StoreError: the store refused, stayed away, or gives damaged bytes again and again.
    """
    opened = open_store(store, wait_s=STAGES_WAIT_S)
    with failure_told(opened, order):
        expanded = carry_out(opened, order)
    tell(opened, order, Told(run=this_run(), expanded=expanded))
    return expanded


def carry_out(store: Store, key: str) -> Expanded:
    """Expand what an order names, and repair what turns out damaged on the way."""
    order, setting = load_order(store, key)
    recipe = Recipe.model_validate(setting.recipe)
    with stage_progress() as shown:
        run = RunContext(store, order.reference.name, cancelled=is_stopped, progress=shown)
        own = {stage.name for stage in STAGES}
        for _ in range(REPAIRS):
            try:
                return expand(run, recipe, order.reference, setting.beside)
            except (CorruptArtifactError, MissingArtifactError) as damage:
                if damage.artifact is not None and damage.artifact.stage not in own:
                    raise
                log.warning("%s; it is made again", damage)
        return expand(run, recipe, order.reference, setting.beside)


def expand(run: RunContext, recipe: Recipe, reference: Reference, beside: SharedInputs) -> Expanded:
    """The stages of `expand_reference`, in a run that is already at work."""
    run.made[reference.photo.id] = reference.photo

    large = upscale(run, recipe.upscale, [reference.photo])
    views = multiview(run, recipe.multiview, large)
    captions = caption(run, recipe.caption, views[:1], reference.label, reference.prompt)
    large_views = upscale(run, recipe.upscale_views, views)
    copies = augment(run, recipe.augment, large_views)
    cut_outs = segment(run, recipe.segment, copies)
    depths = depth(run, recipe.depth, copies)
    masked = masked_depth(run, recipe.masked_depth, cut_outs, depths)
    scenes = background(run, recipe.background, cut_outs, masked, captions, beside.plates)
    images = outpaint(run, recipe.outpaint, scenes)
    finished = [*images, *draw_baseline(run, recipe, large, captions)]
    measures = measure(run, Measure(), finished)
    verdicts = screen(run, recipe.screen, measures, beside.heldout)

    verdict_of = verdicts_by_image(run, measures, verdicts)
    accepted = [image for image in finished if verdict_of[image.id]["accepted"]]
    jpegs = resize(run, recipe.resize, accepted)
    masks = label(run, Label(longest_side=recipe.resize.longest_side), accepted)
    in_datasets = {
        image.id: (jpeg, mask) for image, jpeg, mask in zip(accepted, jpegs, masks, strict=True)
    }
    samples = gather_samples(run, reference, finished, verdict_of, in_datasets)
    key = key_of(recipe, reference, beside)
    expansion = Expansion(
        reference=reference.name, samples=samples, artifacts=tuple(run.made.values())
    )
    save_expansion(run.store, key, expansion)
    return Expanded(
        reference=reference.name,
        key=key,
        images=len(images),
        accepted=sum(verdict_of[image.id]["accepted"] for image in images),
        counts=run.counts,
        cpu_s={stage: sum(costs.values()) for stage, costs in run.cpu_s.items()},
    )


def draw_baseline(
    run: RunContext, recipe: Recipe, photos: list[Artifact], captions: list[Artifact]
) -> list[Artifact]:
    """The images of the study's baseline, cut out so that they are screened like all others."""
    if recipe.baseline is None:
        return []
    return segment(run, recipe.segment, baseline(run, recipe.baseline, photos, captions))
