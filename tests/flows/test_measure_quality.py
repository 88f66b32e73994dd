"""Images and photos are embedded once, and every figure comes from their features."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from flows.config.recipe import Recipe
from flows.generate import Generation
from flows.measure_quality import MeasuredQuality, measure_quality, plan_quality
from models.data.records import Annotation, Record, Sample, SourceImage, Sources, Split
from models.quality.records import QualityMetrics
from tasks.assemble.resize import resize
from tasks.engine.item_documents import save_result
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.stage import stage
from tasks.engine.work_items import GenerationRecord, Result
from tasks.report.quality import Quality, draw_samples
from tasks.store.store import open_store

PHOTOS: tuple[tuple[str, Split], ...] = (
    ("mug/a", "train"),
    ("mug/b", "val"),
    ("mug/c", "test"),
    ("shoe/a", "train"),
    ("shoe/b", "val"),
    ("shoe/c", "test"),
)


class Settings(Record):
    """The test's own stage has no settings."""


@stage(
    "picture", version=1, plan=lambda _, names: [Job((), {"name": name}, name) for name in names]
)
def picture(inputs: Sequence[StageInput], parameters: Settings) -> Iterator[StageOutput]:
    for item in inputs:
        yield StageOutput(item.rng().integers(0, 255, (24, 32, 3), np.uint8))


def new_run(folder: Path) -> RunContext:
    return RunContext(open_store(folder / "store"), "test")


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return new_run(tmp_path)


def make_sources(run: RunContext) -> Sources:
    images = picture(run, Settings(), [name for name, _ in PHOTOS])
    return Sources(
        images=tuple(
            SourceImage(
                name=name,
                file=f"{name}.jpg",
                split=split,
                image=image,
                annotations=(Annotation(label=name.partition("/")[0]),),
            )
            for (name, split), image in zip(PHOTOS, images, strict=True)
        )
    )


def make_generation(run: RunContext, sources: Sources) -> Generation:
    """Two images of one photo; the second one is the test photo ``shoe/c``."""
    drawn = picture(run, Settings(), ["mug/a_view0"])
    copied = [source.image for source in sources.images if source.name == "shoe/c"]
    samples = tuple(
        Sample(
            name=f"mug/a_{number}",
            split="train",
            image=image,
            annotations=(Annotation(label="mug"),),
            generator="copies",
            sources=("mug/a",),
        )
        for number, image in enumerate(resize(run, Recipe().resize, [*drawn, *copied]))
    )
    result = Result(key="0" * 64, item="mug/a", sources=("mug/a",))
    save_result(run.store, result, GenerationRecord(samples=samples, artifacts=()))
    return Generation(results={"copies": (result,)})


def measured(run: RunContext) -> MeasuredQuality:
    sources = make_sources(run)
    return measure_quality(run, Recipe(), sources, make_generation(run, sources))


def test_a_copied_test_photo_is_found_and_a_rerun_computes_nothing(
    run: RunContext, tmp_path: Path
) -> None:
    found = measured(run)
    assert found.document is not None
    quality = QualityMetrics.model_validate(run.load(found.document))
    pair = next(pair for pair in quality.pairs if pair.photos == "real test")
    assert (pair.image_name, pair.photo_name, pair.distance) == ("mug/a_1", "shoe/c", 0.0)
    assert [row.n_images for row in quality.comparisons if row.images == "copies"][:2] == [2, 2]
    # The copy has the bytes of the photo, so its features are computed once.
    assert found.counts == {"embed": StageCount(computed=7), "quality": StageCount(computed=1)}

    again = measured(new_run(tmp_path))
    assert again.document == found.document
    assert again.counts == {"embed": StageCount(cached=7), "quality": StageCount(cached=1)}


def test_a_recipe_without_the_section_measures_nothing(run: RunContext) -> None:
    sources = make_sources(run)
    found = measure_quality(run, Recipe(quality=None), sources, make_generation(run, sources))
    assert found == MeasuredQuality()
    assert "embed" not in run.counts


def test_the_plan_counts_what_the_limits_leave() -> None:
    quality = Quality(per_class=20, total=30)
    planned = plan_quality(quality, {"mug": 10, "shoe": 400}, {"multiview": 25, "others": 900})
    # 15 of each class: of 3 splits, and of every generator.
    assert planned.stages["embed"].artifacts == 10 + 45 + 25 + 30
    assert planned.stages["quality"].artifacts == 1


def test_drawn_images_do_not_depend_on_the_order_of_work(run: RunContext) -> None:
    images = picture(run, Settings(), [f"mug/{number}" for number in range(40)])
    samples = [
        Sample(
            name=image.name,
            split="train",
            image=image,
            annotations=(Annotation(label="mug"),),
            generator="copies",
            sources=("mug/a",),
            reject_reason="blurred" if position % 4 == 0 else None,
        )
        for position, image in enumerate(images)
    ]
    drawn = draw_samples(samples, Quality(per_class=20))
    assert drawn == draw_samples(samples[::-1], Quality(per_class=20))
    assert len(drawn) == 20
    assert all(sample.is_accepted for sample in drawn)
    assert len(draw_samples(samples, Quality(per_class=200))) == 30
