"""What a finished run tells: the input of its report, and the result that a command prints."""

import time
from pathlib import Path
from typing import Literal, Self

from flows.build_datasets import Datasets
from flows.config.comparison import default_trainings
from flows.config.recipe import Recipe
from flows.generate import Generation
from flows.generators.catalog import find_generator
from flows.planning import plan_generator
from flows.train_models import Trained, trainings_of
from models.data.records import Record, Sources
from models.data.specs import TrainingSpec
from models.evaluation.answers import Conclusion
from models.reporting.metrics import Arithmetic, StageMetrics
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.work_items import Result
from tasks.report.data import DatasetSummary, ReferenceSummary, RunSummary
from tasks.report.write import WrittenReport


class RunResult(Record):
    """The result of a run, as ``--json`` prints it."""

    out: Path
    report: Path
    photos: dict[str, int]
    refused: int
    left_out: dict[str, str]
    references: dict[str, str]
    images: dict[str, int]
    stages: dict[str, StageCount]
    datasets: dict[str, dict[str, dict[str, int]]]
    trained: dict[str, str]
    verdict: Conclusion | None
    seconds: float

    @classmethod
    def of(
        cls,
        summary: RunSummary,
        trained: Trained,
        counts: dict[str, StageCount],
        out: Path,
        report: WrittenReport,
    ) -> Self:
        """The result of a run from what its report was made of."""
        splits: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
        return cls(
            out=out,
            report=report.path,
            photos={split: len(summary.photos.of(split)) for split in splits},
            refused=len(summary.photos.refused),
            left_out=summary.photos.left_out,
            references={
                reference.name: reference.reason or reference.status
                for reference in summary.references
            },
            images={
                "made": sum(reference.images for reference in summary.references),
                "accepted": sum(reference.accepted for reference in summary.references),
            },
            stages=counts,
            datasets={
                name: {"train": found.train, "val": found.val}
                for name, found in summary.datasets.items()
            },
            trained={
                checkpoint.name: "trained" if checkpoint.id in trained.fresh else "cached"
                for checkpoint in trained.checkpoints
            },
            verdict=report.verdict,
            seconds=round(summary.seconds, 1),
        )

    def text(self) -> str:
        """The result in a few lines for a person."""
        computed = sum(count.computed for count in self.stages.values())
        cached = sum(count.cached for count in self.stages.values())
        lines = [
            f"{self.images['accepted']} of {self.images['made']} synthetic images accepted; "
            f"{computed} artifacts computed, {cached} cached, in {self.seconds:.0f} s",
            *(f"the class {label!r} {why}; it is left out" for label, why in self.left_out.items()),
            *(f"{name}: trained" for name, state in self.trained.items() if state == "trained"),
            *([self.verdict.text] if self.verdict else []),
            f"report: {self.report}",
        ]
        return "\n".join(lines)


def summarize(
    recipe: Recipe,
    sources: Sources,
    generation: Generation,
    datasets: Datasets | None,
    trained: Trained,
    run: RunContext,
    warnings: list[str],
    started: float,
) -> RunSummary:
    """Everything that the report of a run is made of; ``datasets`` is None if none were built."""
    summary = RunSummary(
        name=recipe.name,
        profile=recipe.profile,
        recipe=recipe.model_dump(mode="json"),
        shown_as=_explanations(recipe),
        arithmetic=_arithmetic(recipe, generation),
        photos=sources,
        reference_photos=len({name for result in generation.all for name in result.sources}),
        references=tuple(
            _reference(result).model_copy(update={"is_learned": find_generator(name).learns})
            for name, results in generation.results.items()
            for result in results
        ),
        stages=_stages(run.counts, generation.all),
        rejects={} if datasets is None else datasets.rejects,
        warnings=(*warnings, *_safety_retries(run.counts)),
        datasets={},
        checkpoints=trained.checkpoints,
        scores=trained.scores,
        verdict=recipe.verdict,
        seconds=time.monotonic() - started,
    )
    return summary if datasets is None else _add_datasets(summary, recipe, datasets)


def _add_datasets(summary: RunSummary, recipe: Recipe, datasets: Datasets) -> RunSummary:
    specs, repeats = _trainings(recipe, datasets)
    left_out = [
        f"{name}: left out, because it would hold the images of {same}"
        for name, same in datasets.repeated.items()
    ]
    descriptions = {spec.name: spec.description for spec in recipe.dataset_specs}
    summaries = {
        spec.name: DatasetSummary(
            description=spec.description or descriptions[spec.dataset],
            train=datasets.volumes[spec.dataset]["train"],
            synthetic=datasets.volumes[spec.dataset]["synthetic"],
            val=datasets.volumes[spec.dataset]["val"],
            document=datasets.documents[spec.dataset],
            origin=datasets.origins[spec.dataset],
        )
        for spec in specs
    }
    return summary.model_copy(
        update={
            "warnings": (*summary.warnings, *left_out, *repeats),
            "datasets": summaries,
            "test": datasets.test,
            "families": datasets.families,
        }
    )


def _trainings(
    recipe: Recipe, datasets: Datasets
) -> tuple[tuple[TrainingSpec, ...], tuple[str, ...]]:
    """The trainings of a run; each dataset by its own name where nothing is trained."""
    if recipe.train is not None:
        return trainings_of(recipe, datasets)
    specs = default_trainings(recipe.dataset_specs, baselines=False)
    return tuple(spec for spec in specs if spec.dataset in datasets.documents), ()


def _explanations(recipe: Recipe) -> dict[str, str]:
    """The stages of all generators that have a row in contact sheets."""
    explanations = {"ingest": "the photo", "crop": "the object, cut out of its photo"}
    for name, settings in recipe.generators.items():
        planned, _ = plan_generator(find_generator(name), settings, 1, 1, recipe.resize)
        explanations.update(
            (stage, found.shown_as) for stage, found in planned.stages.items() if found.shown_as
        )
    return explanations


def _arithmetic(recipe: Recipe, generation: Generation) -> dict[str, Arithmetic]:
    """How many images each generator was to make, factor by factor."""
    numbers = {}
    for name, settings in recipe.generators.items():
        generator = find_generator(name)
        factors, results = generator.factors(settings), generation.results.get(name, ())
        per_photo = 1
        for factor in factors:
            per_photo *= factor.amount
        is_per_class = generator.phases[-1].unit == "class"
        photos = {source for result in results for source in result.sources}
        units = len({result.label for result in results} if is_per_class else photos)
        numbers[name] = Arithmetic(
            unit="class" if is_per_class else "photo",
            factors=factors,
            per_photo=per_photo,
            photos=units,
            total=per_photo * units,
        )
    return numbers


def _reference(result: Result) -> ReferenceSummary:
    status: Literal["computed", "cached", "failed"] = "cached" if result.cached else "computed"
    return ReferenceSummary(
        name=result.item,
        label=result.label,
        status="failed" if result.failure else status,
        reason=result.failure,
        key=None if result.failure else result.key,
        images=result.made,
        accepted=result.accepted,
        rejected=result.made - result.accepted,
    )


def _stages(counts: dict[str, StageCount], results: list[Result]) -> dict[str, StageMetrics]:
    """The counts of each stage, and the CPU seconds of what was computed."""
    cpu_s: dict[str, float] = {}
    for result in results:
        for stage, seconds in result.cpu_s.items():
            cpu_s[stage] = cpu_s.get(stage, 0.0) + seconds
    return {
        stage: StageMetrics(**count.model_dump(), cpu_s=round(cpu_s.get(stage, 0.0), 2))
        for stage, count in counts.items()
    }


def _safety_retries(counts: dict[str, StageCount]) -> list[str]:
    return [
        f"{stage}: the safety checker flagged {count.safety_retries} images, which were drawn again"
        for stage, count in counts.items()
        if count.safety_retries
    ]
