"""The whole job: photos in, datasets and a verdict out. Run nightly, it redoes what changed."""

import logging
import time
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from flows.build_datasets import Assembled, assemble
from flows.config.checkpoints import pin_checkpoints, used_models, warnings_of
from flows.config.recipe import Recipe
from flows.execution.crash_limit import give_up_after_crashes
from flows.execution.deployment import Outcome, cancel_children
from flows.execution.progress import this_run
from flows.execution.results import Tally
from flows.execution.run_names import named_regenerate
from flows.generate import Outcomes, fan_out, raise_damage, require
from flows.train_models import Trained, train_elsewhere, train_networks, trained_alike
from models.data.find_photos import find_photos
from models.data.records import IngestedPhotos, Record, Reference
from models.evaluation.conclusion import Conclusion
from models.reporting.metrics import Arithmetic, Factor, ModelUse, StageMetrics
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.results import artifacts_of
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import keep_artifacts, make_run_id, save_part
from tasks.engine.work_items import SharedInputs
from tasks.ingest.photos import ingest_photos, ingest_plates
from tasks.ingest.references import choose_references
from tasks.report.data import DatasetSummary, ReferenceSummary, RunSummary, describe_dataset
from tasks.report.write import write_report
from tasks.screen.screen import HeldOut, index_heldout
from tasks.store.store import RUNS_WAIT_S, Corrupt, Missing, Store, open_store
from tasks.train.train import require_trainable

log = logging.getLogger("synthset.regenerate")

REPAIRS = 8


class Place(Record):
    """Where a run reads and writes, and how much of the machine it takes."""

    photos: Path = Field(description="Photos by class, or train/, val/ and test/ of these.")
    out: Path = Field(description="Folder for datasets, report and manifest.")
    store: str = Field(description="Artifact store: a folder or s3://bucket/prefix.")
    limit: int | None = Field(None, ge=1, description="Expand at most so many reference photos.")
    at_once: int = Field(1, ge=1, description="References expanded at a time.")
    deployment: str | None = Field(
        None,
        description="Deployment whose workers expand the references, such as expand_reference/gpu; "
        "none: the run's own process.",
    )
    training: str | None = Field(
        None, description="Deployment that trains, such as train/gpu; none: the run's own process."
    )


class Summary(Record):
    """What a run left behind, as ``--json`` prints it."""

    out: Path
    report: Path
    photos: dict[str, int]
    refused: int
    references: dict[str, str]
    images: dict[str, int]
    stages: dict[str, StageCount]
    datasets: dict[str, dict[str, dict[str, int]]]
    trained: dict[str, str]
    verdict: Conclusion | None
    seconds: float

    def told(self) -> str:
        """The summary in a few lines for a person."""
        computed = sum(count.computed for count in self.stages.values())
        cached = sum(count.cached for count in self.stages.values())
        lines = [
            f"{self.images['accepted']} of {self.images['made']} synthetic images accepted; "
            f"{computed} artifacts computed, {cached} cached, in {self.seconds:.0f} s",
            *(f"{name}: {what}" for name, what in self.trained.items() if what != "cached"),
            *([self.verdict.text] if self.verdict else []),
            f"report: {self.report}",
        ]
        return "\n".join(lines)


def cancel_family(flow: Any, flow_run: Any, state: Any) -> None:
    """A cancelled run takes its child runs with it; one that crashed is retried and adopts them."""
    cancelled = cancel_children(str(flow_run.id))
    log.warning("cancelled, and %d child runs with it", cancelled)


@flow(name="regenerate", flow_run_name=named_regenerate, on_cancellation=[cancel_family])
def regenerate(recipe: Recipe, place: Place) -> Summary:
    """Photos to datasets, classifiers and report; only what the store lacks is computed.

    When something turns out damaged, it is made anew, and what hangs on it is walked again.

    Raises:
        ValueError: photos, recipe or folders are not as they must be; one line says which and how.
        CrashedTooOften: its worker died under it again and again.
        ReferencesFailed: more references failed than the recipe allows.
        StoreError: the store refused or stayed away.
    """
    started = time.monotonic()
    give_up_after_crashes(this_run())
    recipe = pin_checkpoints(recipe)
    # Looking at networks takes seconds, and a night that changes nothing trains none.
    if recipe.train is not None and not trained_alike(
        recipe, make_run_id(place.out), open_store(place.store, patience_s=RUNS_WAIT_S)
    ):
        require_trainable(recipe.train, here=place.training is None)
    tally = Tally()
    for _ in range(REPAIRS):
        try:
            return walk(recipe, place, tally, started)
        except (Corrupt, Missing) as damage:
            log.warning("%s; it is made again", damage)
    return walk(recipe, place, tally, started, go_on=True)


def walk(
    recipe: Recipe, place: Place, tally: Tally, started: float, *, go_on: bool = False
) -> Summary:
    """One walk over all stages. ``go_on`` with damaged references as with others that fail.

    Raises:
        Corrupt, Missing: something is damaged, and forgotten: the next walk makes it anew.
    """
    store, run_id = open_store(place.store, patience_s=RUNS_WAIT_S), make_run_id(place.out)
    run = RunContext(store, recipe.name)
    tally.begin(run.counts)
    photos = take_in(run, recipe, place.photos)
    save_part(store, run_id, photos)
    references = choose_references(
        photos.of("train"), recipe.references_per_class, place.limit, recipe.split.seed
    )
    heldout = index_heldout(run, HeldOut(), [one.photo for one in photos.of("val", "test")])
    plates = ingest_plates(run, recipe.plates, recipe.ingest)
    beside = SharedInputs(plates=tuple(plates), heldout=tuple(heldout))

    with verify_inputs_on_error(store, run.made.values()):
        outcomes = tally.add_outcomes(
            fan_out(store, recipe, references, beside, place.at_once, place.deployment)
        )
        if not go_on:
            raise_damage(outcomes)
    save_part(store, run_id, Outcomes(outcomes=tuple(outcomes)))
    require(outcomes, recipe.min_references)
    assembled = assemble(recipe, run_id, place.out, place.store)
    tally.add(assembled.counts)
    trained = tally.add_trained(
        train_networks(recipe, run_id, place.out, place.store)
        if place.training is None
        else train_elsewhere(recipe, run_id, place.out, place.store, place.training)
    )
    keep(store, run_id, photos, outcomes, assembled, trained)

    summary = RunSummary(
        name=recipe.name,
        profile=recipe.profile,
        recipe=recipe.model_dump(mode="json"),
        arithmetic={"multiview": arithmetic(recipe, references)},
        models=tuple(ModelUse.model_validate(row) for row in used_models(recipe)),
        warnings=(*warnings_of(recipe), *told_redrawn(tally.counts)),
        photos=photos,
        references=tuple(told_reference(outcome) for outcome in outcomes),
        stages=told_stages(tally.counts, outcomes),
        rejects=assembled.rejects,
        datasets={
            name: DatasetSummary(
                description=describe_dataset(name), document=assembled.arms[name], **volume
            )
            for name, volume in assembled.volumes.items()
        },
        test=assembled.test,
        checkpoints=trained.checkpoints,
        scores=trained.scores,
        seconds=time.monotonic() - started,
    )
    with verify_inputs_on_error(store, run.made.values()):
        report = write_report(run, summary, place.out)
    return Summary(
        out=place.out,
        report=report.path,
        photos={split: len(photos.of(split)) for split in ("train", "val", "test")},
        refused=len(photos.refused),
        references={one.reference.name: state_of(one) for one in outcomes},
        images={
            "made": sum(one.expanded.images for one in outcomes if one.expanded),
            "accepted": sum(one.expanded.accepted for one in outcomes if one.expanded),
        },
        stages=tally.counts,
        datasets=assembled.volumes,
        trained=told_trainings(trained),
        verdict=report.verdict,
        seconds=round(time.monotonic() - started, 1),
    )


def take_in(run: RunContext, recipe: Recipe, folder: Path) -> IngestedPhotos:
    """Find, read and split the photos of a folder; files that are no photos are refused by name."""
    files, refused = find_photos(folder)
    photos = ingest_photos(run, files, recipe.ingest, recipe.split)
    unread = [(one.file, one.reason) for one in refused]
    return photos.model_copy(update={"refused": tuple(sorted([*photos.refused, *unread]))})


def arithmetic(recipe: Recipe, references: list[Reference]) -> Arithmetic:
    """How many images ``7 · t · c · k²`` and the references come to."""
    k = recipe.outpaint.k
    return Arithmetic(
        factors=(
            Factor(
                amount=recipe.multiview.views + 1,
                name="views",
                note="the photo and its new views",
            ),
            Factor(
                amount=recipe.augment.copies,
                name="augmentations",
                note="colour, light, blur, flip",
            ),
            Factor(amount=recipe.background.copies, name="backgrounds", note="scenes per cut-out"),
            Factor(amount=k * k, name="shifts", note=f"a grid of {k} by {k}"),
        ),
        per_photo=recipe.images_per_photo,
        photos=len(references),
        total=recipe.images_per_photo * len(references),
    )


def state_of(outcome: Outcome) -> str:
    """``computed``, ``cached`` or the reason why it failed."""
    return outcome.failure or ("cached" if outcome.cached else "computed")


def told_reference(outcome: Outcome) -> ReferenceSummary:
    """What the report says of one reference."""
    expanded = outcome.expanded
    images = expanded.images if expanded else 0
    accepted = expanded.accepted if expanded else 0
    return ReferenceSummary(
        name=outcome.reference.name,
        label=outcome.reference.label,
        status="failed" if outcome.failure else "cached" if outcome.cached else "computed",
        reason=outcome.failure,
        key=expanded.key if expanded else None,
        images=images,
        accepted=accepted,
        rejected=images - accepted,
    )


def told_stages(stages: dict[str, StageCount], outcomes: list[Outcome]) -> dict[str, StageMetrics]:
    """The counts of each stage, with the CPU seconds that its new artifacts took."""
    spent: dict[str, float] = {}
    for outcome in outcomes:
        for stage, cpu_s in (outcome.expanded.cpu_s if outcome.expanded else {}).items():
            spent[stage] = spent.get(stage, 0.0) + cpu_s
    return {
        stage: StageMetrics(**count.model_dump(), cpu_s=round(spent.get(stage, 0.0), 2))
        for stage, count in stages.items()
    }


def told_redrawn(counts: dict[str, StageCount]) -> list[str]:
    """A line per stage in which images were drawn anew."""
    return [
        f"{stage}: the safety checker flagged {count.safety_retries} images, which were drawn again"
        for stage, count in counts.items()
        if count.safety_retries
    ]


def told_trainings(trained: Trained) -> dict[str, str]:
    """Per training, whether it was cached, or trained and why."""
    why = "trained, since its images, its settings or its seed are new"
    return {one.name: why if one.id in trained.fresh else "cached" for one in trained.checkpoints}


def keep(
    store: Store,
    run_id: str,
    photos: IngestedPhotos,
    outcomes: list[Outcome],
    assembled: Assembled,
    trained: Trained,
) -> None:
    """Tell the garbage collector what the run's results stand on."""
    ids = [one.photo.id for one in photos.photos]
    ids += [one.id for one in (*assembled.arms.values(), assembled.test)]
    ids += [one.id for one in (*trained.checkpoints, *trained.scores)]
    for outcome in outcomes:
        if outcome.expanded:
            ids += artifacts_of(store, outcome.expanded.key)
    keep_artifacts(store, run_id, ids)
