"""Plan a run: counts per stage, disk and time, from file names alone."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.config.checkpoints import absent_checkpoints, checkpoint_warnings
from flows.config.checks.photos import check_photos, count_train_photos, find_small_classes
from flows.config.checks.prompt_limit import prompt_warnings
from flows.config.recipe import Recipe
from flows.generators.base import Generator
from flows.generators.catalog import find_generator
from flows.items import plan_item
from flows.measure_quality import plan_quality
from flows.select_images import plan_selection
from models.data.records import Annotation, Artifact, Record, SourceImage
from tasks.assemble.resize import Resize
from tasks.engine.planning_run import PlanningRun
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.ingest.find_sources import list_classes, list_prompts

COSTS = ("megabytes", "cpu_seconds", "gpu_seconds")


class StagePlan(Record):
    """How many artifacts a stage would make, and their cost if the store has none of them."""

    generator: str
    stage: str
    artifacts: int
    megabytes: float
    cpu_seconds: float
    gpu_seconds: float = 0.0


class Plan(Record):
    """What a run would make."""

    recipe: str
    photos: dict[str, int]
    references: int
    images_per_photo: dict[str, int]
    images_per_class: dict[str, int] = {}
    images: int
    stages: tuple[StagePlan, ...]
    trainings: int
    megabytes: float
    cpu_seconds: float
    gpu_seconds: float
    warnings: tuple[str, ...]


def make_plan(recipe: Recipe, folder: Path, limit: int | None) -> Plan:
    """The plan of a run. It opens no photo and computes nothing.

    Raises:
        ValueError: a run can't begin with these photos; see `check_photos`.
    """
    labels = check_photos(recipe, folder, limit)
    are_scenes = recipe.ingest.objects == "scene"
    small = {} if are_scenes else find_small_classes(labels, recipe.split)
    labels = [(split, label) for split, label in labels if label not in small]
    per_class = count_train_photos(labels, recipe.split)
    classes = len(list_classes(folder, recipe.ingest.format) if are_scenes else per_class)
    used = {
        label: min(count, recipe.references_per_class or count)
        for label, count in per_class.items()
    }
    references = sum(used.values())
    references = min(references, limit or references)
    stages: list[StagePlan] = []
    per_photo: dict[str, int] = {}
    images_per_class: dict[str, int] = {}
    made: dict[str, int] = {}
    for name, settings in recipe.generators.items():
        generator = find_generator(name)
        share = 1.0
        # A scene may get objects whatever it shows.
        if not are_scenes:
            taken = [used[label] for label in used if generator.makes_images_of(settings, label)]
            share = sum(taken) / max(sum(used.values()), 1)
        planned, images = plan_generator(
            generator, settings, references, classes, recipe.resize, share
        )
        made[name] = images
        if generator.phases[-1].unit == "class":
            images_per_class[name] = images // max(classes, 1)
        else:
            per_photo[name] = images // max(round(references * share), 1)
        stages += _stage_plans(name, planned)
    photos = Counter(label for _, label in labels)
    if recipe.select is not None:
        stages += _stage_plans("select", plan_selection(recipe.select, photos, made))
    if recipe.quality is not None:
        stages += _stage_plans("quality", plan_quality(recipe.quality, photos, made))
    absent = absent_checkpoints(recipe)
    trainings = len(recipe.training_specs) * len(recipe.train.seeds) if recipe.train else 0
    return Plan(
        recipe=recipe.name,
        photos=per_class,
        references=references,
        images_per_photo=per_photo,
        images_per_class=images_per_class,
        images=sum(made.values()),
        stages=tuple(stages),
        trainings=trainings,
        **{cost: round(sum(getattr(stage, cost) for stage in stages), 1) for cost in COSTS},
        warnings=(
            *checkpoint_warnings(recipe),
            *prompt_warnings(recipe, list_prompts(folder, recipe.ingest.format)),
            *([f"not on this machine: {absent}"] if absent else []),
            *(f"the class {label!r} {why}; it is left out" for label, why in small.items()),
            *(
                f"{name}: what it has in common with {first} is computed once, and counted here "
                "for both"
                for name in recipe.generators
                if (first := name.partition("-")[0]) != name and first in recipe.generators
            ),
        ),
    )


def _stage_plans(name: str, planned: PlanningRun) -> list[StagePlan]:
    return [
        StagePlan(
            generator=name,
            stage=stage,
            artifacts=found.artifacts,
            megabytes=round(found.megabytes, 1),
            cpu_seconds=round(found.cpu_seconds, 1),
            gpu_seconds=round(found.gpu_seconds, 1),
        )
        for stage, found in planned.stages.items()
    ]


def plan_generator(
    generator: Generator,
    settings: Record,
    references: int,
    classes: int,
    resizing: Resize,
    share: float = 1.0,
) -> tuple[PlanningRun, int]:
    """The stages of a generator over its references, and the images that it would make.

    A phase is planned once, for a typical work item, and multiplied by the number of items.

    Args:
        share: of the references, those of classes that get images.
    """
    total, images = PlanningRun(), 0
    label, placing = next(iter(generator.classes(settings)), "example"), generator.placing(settings)
    shown = (label, *(placing.scene_classes if placing else ()))
    inputs: tuple[Artifact, ...] = ()
    wanted = len(generator.classes(settings)) or classes
    for phase in generator.phases:
        size, items = 1, references
        if phase.unit == "class":
            size = -(-references // max(classes, 1))
            items = wanted if phase.only_wanted else classes
        elif phase.unit == "shard" and not generator.is_last(phase):
            size, items = phase.shard_size, -(-references // phase.shard_size)
        elif phase.unit == "shard":
            # A photo of a shard stands for all; each class has its own images of it.
            items = references * wanted
        if generator.is_last(phase):
            items = round(items * share)
        run = PlanningRun()
        sources = tuple(_example_photo(number, shown) for number in range(max(size, 1)))
        item = WorkItem(
            generator=generator.name,
            phase=phase.name,
            name=label,
            key="",
            sources=sources,
            inputs=inputs,
        )
        outputs = plan_item(run, generator, phase, settings, item, SharedInputs(), resizing)
        inputs = tuple(outputs)
        total.add(run, items)
        if generator.is_last(phase):
            images = items * len(outputs)
    return total, images


def show_plan(plan: Plan) -> None:
    """Print the plan as a table."""
    table = Table(title=f"{plan.recipe}: cost if the store is empty")
    for column in ("stage", "artifacts", "disk MB", "CPU s", "GPU s"):
        table.add_column(column)
    for stage in plan.stages:
        table.add_row(f"{stage.generator} · {stage.stage}", *_figures(stage.artifacts, stage))
    artifacts = sum(stage.artifacts for stage in plan.stages)
    table.add_row("total", *_figures(artifacts, plan))
    console = Console(markup=False, emoji=False)
    console.print(table)
    photos = ", ".join(f"{label} {count}" for label, count in plan.photos.items())
    images = (
        f"{plan.references} references x ({_products(plan.images_per_photo)}) images"
        if plan.images_per_photo
        else f"{plan.references} references"
    )
    if plan.images_per_class:
        images += f"; {len(plan.photos)} classes x ({_products(plan.images_per_class)}) images"
    console.print(
        f"train photos: {photos}; {images}; "
        f"{plan.trainings} trainings (their time is not in the table)"
    )
    for warning in plan.warnings:
        console.print(f"note: {warning}", style="yellow", highlight=False, soft_wrap=True)


def _products(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count} {name}" for name, count in counts.items())


def _figures(artifacts: int, cost: StagePlan | Plan) -> list[str]:
    return [f"{artifacts}", *(f"{getattr(cost, figure):.0f}" for figure in COSTS)]


def _example_photo(number: int, shown: tuple[str, ...]) -> SourceImage:
    digest = f"{number:064x}"
    image = Artifact(
        key=digest, stage="ingest", version=1, name="example", media="png", digest=digest, size=0
    )
    return SourceImage(
        name=f"{shown[0]}/{number}",
        file=f"{shown[0]}/{number}.jpg",
        split="train",
        image=image,
        annotations=tuple(Annotation(label=label) for label in shown),
        counted_as=shown[0],
    )
