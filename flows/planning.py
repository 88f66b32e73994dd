"""What a run would make: counts per stage, disk and time, from the file names alone."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.config.checkpoints import absent_checkpoints, warnings_of
from flows.config.recipe import Recipe
from models.data.find_photos import PhotoFile, find_photos
from models.data.records import Record
from tasks.engine.stage import checkpoints_of

# CPU milliseconds of an artifact: so many, and so many more per megapixel of it; and its bytes per
# megapixel. Measured by `python -m benchmarks stages` on one core at two sizes (see
# benchmarks/RESULTS.md); a plan is an estimate, good to a factor of two.
COST_MS: dict[str, tuple[float, float]] = {
    **{"upscale": (2, 38), "multiview": (25, 400), "caption": (2, 0), "augment": (0, 105)},
    **{"segment": (74, 60), "depth": (0, 50), "masked_depth": (1, 13), "background": (28, 185)},
    **{"outpaint": (6, 47), "measure": (2, 2.6), "resize": (1, 13), "label": (0.5, 1.5)},
}
# Trillion operations of an artifact of a network: so many, and so many more per megapixel of it.
# Counted by `python -m benchmarks flops` on the published sizes at the default number of steps.
TFLOP: dict[str, tuple[float, float]] = {
    **{"realesrgan": (0, 2.25), "zero123plus": (28, 0), "isnet": (0.32, 0), "sam": (0.97, 0)},
    **{"dpt": (0.52, 0), "depth-anything": (0.17, 0), "blip": (0.5, 0), "florence-2": (0.3, 0)},
    **{"sdxl-controlnet-depth": (0, 417), "sd2-inpaint": (0, 214), "sdxl-img2img": (0, 204)},
}
# What an H200 did of them per second over a whole reference, in float16 and not compiled: 312 in
# the background, 220 in multiview, 222 in outpainting, which takes most of the time.
TFLOP_PER_S = 230.0
BYTES = {
    **{"upscale": 0.7e6, "multiview": 0.9e6, "augment": 1.0e6, "segment": 1.0e6, "depth": 0.4e6},
    **{"masked_depth": 0.4e6, "background": 1.4e6, "outpaint": 1.4e6, "resize": 0.25e6},
    **{"baseline": 1.2e6, "label": 0.02e6},
}
PHOTO_MEGAPIXELS = 0.3


class StagePlan(Record):
    """How many artifacts a stage would make, and what they would cost if none were there."""

    stage: str
    artifacts: int
    megabytes: float
    cpu_seconds: float
    gpu_seconds: float = 0.0


class Plan(Record):
    """A run as it would be."""

    recipe: str
    photos: dict[str, int]
    references: int
    images_per_photo: int
    images: int
    stages: tuple[StagePlan, ...]
    trainings: int
    megabytes: float
    cpu_seconds: float
    gpu_seconds: float
    warnings: tuple[str, ...]


def make_plan(recipe: Recipe, folder: Path, limit: int | None) -> Plan:
    """The plan of a run; reads no photo and computes nothing.

    Raises:
        ValueError: the folder is not as it must be.
    """
    files, _ = find_photos(folder)
    per_class = _train_per_class(recipe, files)
    references = sum(
        min(count, recipe.references_per_class or count) for count in per_class.values()
    )
    references = min(references, limit or references)
    stages = tuple(
        _stage(stage, _model(recipe, stage), references * count, megapixels)
        for stage, count, megapixels in volumes(recipe)
    )
    absent = absent_checkpoints(recipe)
    arms = 4 if recipe.assemble.few_shot else 3
    return Plan(
        recipe=recipe.name,
        photos=per_class,
        references=references,
        images_per_photo=recipe.images_per_photo,
        images=references * recipe.images_per_photo,
        stages=stages,
        trainings=arms * len(recipe.train.seeds) if recipe.train else 0,
        megabytes=round(sum(one.megabytes for one in stages), 1),
        cpu_seconds=round(sum(one.cpu_seconds for one in stages), 1),
        gpu_seconds=round(sum(one.gpu_seconds for one in stages), 1),
        warnings=(*warnings_of(recipe), *([f"not here yet: {absent}"] if absent else [])),
    )


def show_plan(plan: Plan) -> None:
    """Print the plan as a table."""
    table = Table(
        *("stage", "artifacts", "disk MB", "CPU s", "GPU s"),
        title=f"{plan.recipe}: if nothing is there",
    )
    for one in plan.stages:
        table.add_row(one.stage, *_told(one.artifacts, one))
    artifacts = sum(one.artifacts for one in plan.stages)
    table.add_row("total", *_told(artifacts, plan))
    console = Console()
    console.print(table)
    photos = ", ".join(f"{label} {count}" for label, count in plan.photos.items())
    console.print(
        f"train photos: {photos}; {plan.references} references x {plan.images_per_photo} images; "
        f"{plan.trainings} trainings (their time is not in the table)"
    )
    for warning in plan.warnings:
        console.print(f"note: {warning}", style="yellow", highlight=False, soft_wrap=True)


def _told(artifacts: int, cost: StagePlan | Plan) -> tuple[str, ...]:
    figures = (cost.megabytes, cost.cpu_seconds, cost.gpu_seconds)
    return (f"{artifacts}", *(f"{figure:.0f}" for figure in figures))


def _train_per_class(recipe: Recipe, files: list[PhotoFile]) -> dict[str, int]:
    given = any(one.split == "test" for one in files)
    counts: dict[str, int] = {}
    for one in files:
        if one.split in (None, "train"):
            counts[one.label] = counts.get(one.label, 0) + 1
    kept = 1.0 if any(one.split == "val" for one in files) else 1.0 - recipe.split.val
    kept -= 0.0 if given else recipe.split.test
    return {label: max(1, round(count * kept)) for label, count in sorted(counts.items())}


def volumes(
    recipe: Recipe, photo_megapixels: float = PHOTO_MEGAPIXELS
) -> list[tuple[str, int, float]]:
    """Per stage: its name, artifacts per reference, and megapixels of one.

    `upscale` is there twice: for the photo and for its views.
    """
    views = recipe.multiview.views + 1
    copies = views * recipe.augment.copies
    scenes = copies * recipe.background.copies
    images = scenes * recipe.outpaint.k**2
    photo = photo_megapixels * recipe.upscale.factor**2
    view = recipe.multiview.size**2 / 1e6
    large = view * recipe.upscale_views.factor**2
    scene = recipe.background.width * recipe.background.height / 1e6
    small = recipe.resize.longest_side**2 * 0.75 / 1e6
    return [
        ("upscale", 1, photo),
        ("multiview", views, view),
        ("caption", 1, 0.0),
        ("upscale", views, large),
        *((stage, copies, large) for stage in ("augment", "segment", "depth", "masked_depth")),
        ("background", scenes, scene),
        ("outpaint", images, scene),
        *([("baseline", recipe.baseline.copies, scene)] if recipe.baseline else []),
        ("measure", scenes, scene * recipe.outpaint.k**2),
        ("resize", images, small),
        ("label", images, small),
    ]


def _model(recipe: Recipe, stage: str) -> str | None:
    """The network of a stage, or None: a classical model's cost is in `COST_MS`."""
    section = getattr(recipe, stage, None)
    return section.model if section is not None and checkpoints_of(section) else None


def _stage(stage: str, network: str | None, artifacts: int, megapixels: float) -> StagePlan:
    each, per_megapixel = COST_MS[stage] if network is None else (0.0, 30.0)
    fixed, moving = TFLOP.get(network or "", (0.0, 0.0))
    return StagePlan(
        stage=stage,
        artifacts=artifacts,
        megabytes=round(artifacts * megapixels * BYTES.get(stage, 0.0) / 1e6, 1),
        cpu_seconds=round(artifacts * (each + megapixels * per_megapixel) / 1e3, 1),
        gpu_seconds=round(artifacts * (fixed + megapixels * moving) / TFLOP_PER_S, 1),
    )
