"""Quality of the generated images: embed images and real photos, and compare their features."""

import time
from collections.abc import Mapping
from typing import Self

from flows.config.recipe import Recipe
from flows.generate import Generation
from flows.select_images import EXAMPLE, photo_samples
from models.data.records import Artifact, Record, Sources
from tasks.embed.embed import EmbedBackbone, embed
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext, StageCount
from tasks.report.data import RunSummary
from tasks.report.quality import Quality, draw_samples, quality

_SPLITS = 3


class MeasuredQuality(Record):
    """The document with all figures, the features it was made of, and what that cost."""

    document: Artifact | None = None
    embedded: tuple[Artifact, ...] = ()
    counts: dict[str, StageCount] = {}
    cpu_s: float = 0.0

    @property
    def artifact_ids(self) -> list[str]:
        """What garbage collection must keep, so that a rerun computes nothing."""
        documents = [self.document] if self.document else []
        return [artifact.id for artifact in (*documents, *self.embedded)]

    def add_to(self, summary: RunSummary) -> RunSummary:
        """The summary of the run with this document and its CPU seconds."""
        stages = dict(summary.stages)
        if "embed" in stages:
            stages["embed"] = stages["embed"].model_copy(update={"cpu_s": self.cpu_s})
        return summary.model_copy(update={"quality": self.document, "stages": stages})

    @classmethod
    def of(
        cls, document: Artifact, embedded: list[Artifact], run: RunContext, cpu_s: float
    ) -> Self:
        """The result of a run context whose other stages belong to another flow."""
        counts = {name: run.counts[name] for name in ("embed", "quality")}
        return cls(document=document, embedded=tuple(embedded), counts=counts, cpu_s=cpu_s)


def measure_quality(
    run: RunContext, recipe: Recipe, sources: Sources, generation: Generation
) -> MeasuredQuality:
    """The quality figures of a run; nothing where the recipe has no section ``quality``.

    Raises:
        EmbeddedWeightsError: the package with the network's weights is missing or changed.
    """
    if recipe.quality is None:
        return MeasuredQuality()
    started = time.process_time()
    # A context of its own: the run counts `resize` where the datasets are built.
    own = RunContext(run.store, "quality", on_batch=run.on_batch)
    samples = photo_samples(own, recipe, sources.images)
    for made in generation.load_samples(run.store).values():
        samples += [sample for sample in made if sample.label in sources.classes]
    drawn = draw_samples(samples, recipe.quality)
    embedded = embed(own, EmbedBackbone(), [sample.image for sample in drawn])
    (document,) = quality(own, recipe.quality, drawn, embedded)
    return MeasuredQuality.of(document, embedded, own, round(time.process_time() - started, 2))


def plan_quality(
    settings: Quality, photos: Mapping[str, int], images: Mapping[str, int]
) -> PlanningRun:
    """Plan the stages of `measure_quality`, as if every image were accepted.

    Args:
        settings: the section of the recipe.
        photos: photos per class, of all splits.
        images: images per generator.
    """
    limit = settings.limit(len(photos))
    amount = sum(min(count, _SPLITS * limit) for count in photos.values())
    amount += sum(min(count, limit * len(photos)) for count in images.values())
    each, total = PlanningRun(), PlanningRun()
    embed(each, EmbedBackbone(), [EXAMPLE])
    total.add(each, amount)
    quality(total, settings, [], [])
    return total
