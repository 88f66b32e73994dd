"""Selection in a run: the images that it rejects are nowhere used, and a rerun computes nothing."""

from pathlib import Path

import pytest

from flows.config.recipe import Recipe
from flows.select_images import plan_selection, select_images
from tasks.engine.run_context import StageCount
from tasks.screen.select import NOT_CHOSEN, WRONG_CLASS, Select
from tests.flows.test_measure_quality import make_generation, make_sources, new_run


def select_from(
    folder: Path, settings: Select | None
) -> tuple[list[str | None], dict[str, StageCount]]:
    """The reasons of the two generated images: the second one is a photo of a shoe."""
    run = new_run(folder)
    sources = make_sources(run)
    recipe = Recipe(select=settings)
    selected = select_images(run, recipe, sources, make_generation(run, sources))
    samples = selected.load_samples(run.store)["copies"]
    if settings is not None:
        (result,) = selected.results["copies"]
        assert result.accepted == sum(sample.is_accepted for sample in samples)
    return [sample.reject_reason for sample in samples], run.counts


def test_a_selection_is_part_of_the_results(tmp_path: Path) -> None:
    reasons, counts = select_from(tmp_path, Select(own_class=False, keep=0.5))
    assert sorted(reasons, key=str) == [None, NOT_CHOSEN]
    # The reference and both val photos are compared with two images.
    assert counts["embed"] == StageCount(computed=5)
    assert counts["select"] == StageCount(computed=1)
    again, counts = select_from(tmp_path, Select(own_class=False, keep=0.5))
    assert again == reasons
    assert (counts["embed"], counts["select"]) == (StageCount(cached=5), StageCount(cached=1))


def test_only_references_and_val_photos_take_part(tmp_path: Path) -> None:
    # No shoe is a reference, so the photo of a shoe can't be found to be one.
    reasons, _ = select_from(tmp_path, Select(keep=1.0))
    assert reasons == [None, None]
    assert WRONG_CLASS not in map(str, reasons)


def test_a_recipe_without_the_section_selects_nothing(tmp_path: Path) -> None:
    reasons, counts = select_from(tmp_path, None)
    assert reasons == [None, None]
    assert "select" not in counts


def test_the_plan_counts_photos_and_images() -> None:
    planned = plan_selection(Select(), {"mug": 10, "shoe": 4}, {"copies": 25, "others": 5})
    assert planned.stages["embed"].artifacts == 44
    assert planned.stages["select"].artifacts == 2


@pytest.mark.parametrize("keep", [0, 1.5])
def test_the_share_is_above_0_and_at_most_1(keep: float) -> None:
    with pytest.raises(ValueError, match="keep"):
        Select(keep=keep)
