"""Selection in a run: the images that it rejects are nowhere used, and a rerun computes nothing."""

from pathlib import Path

import pytest

from flows.config.checkpoints import checkpoints_in, pin_checkpoints, used_models
from flows.config.recipe import Recipe
from flows.select_images import plan_selection, select_images
from models.checkpoints.import_folder import import_checkpoint
from models.checkpoints.local import pinned
from tasks.embed.embed import EmbedBackbone, EmbedClip, embed
from tasks.engine.jobs import Job
from tasks.engine.run_context import StageCount
from tasks.screen.select import NOT_CHOSEN, WRONG_CLASS, WRONG_NAME, Select
from tests.checkpoints import clip_model
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


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbedClip:
    """Settings of a tiny CLIP that lies in the folder of models."""
    settings = EmbedClip()
    clip_model.build(tmp_path / "published" / settings.checkpoint)
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path / "models"))
    import_checkpoint(settings.checkpoint, tmp_path / "published", lambda *_: None)
    return settings


def test_clip_compares_images_with_photos_and_with_the_names_of_classes(
    tmp_path: Path, clip: EmbedClip
) -> None:
    recipe = pin_checkpoints(Recipe(select=Select(features=clip, own_class=False, keep=1.0)))
    assert recipe.select is not None
    assert checkpoints_in(recipe) == [pinned(clip.checkpoint)]
    assert used_models(recipe)[-1]["licence"] == "MIT"
    run = new_run(tmp_path)
    sources = make_sources(run)
    selected = select_images(run, recipe, sources, make_generation(run, sources))
    assert run.counts["embed"] == StageCount(computed=5)
    assert run.counts["embed_text"] == StageCount(computed=2)
    for sample in selected.load_samples(run.store)["copies"]:
        assert -1 <= sample.scores["name_similarity"] <= 1
        assert sample.reject_reason in (None, f"{WRONG_NAME}: shoe")
    # The backbone's features are others, and selecting again computes nothing.
    _, counts = select_from(tmp_path, Select())
    assert counts["embed"] == StageCount(computed=5)
    _, counts = select_from(tmp_path, recipe.select)
    assert counts["embed"] == StageCount(cached=5)
    assert counts["embed_text"] == StageCount(cached=2)


def test_features_have_the_key_of_their_network_and_revision() -> None:
    clip = EmbedClip(checkpoint="acme/clip@1")
    networks = [EmbedBackbone(), clip, EmbedClip(checkpoint="acme/clip@2")]
    assert len({embed.key(Job(()), network) for network in networks}) == 3
    unnamed = clip.model_copy(update={"class_names": False})
    assert embed.key(Job(()), unnamed) == embed.key(Job(()), clip)


def test_the_plan_counts_names_of_classes() -> None:
    settings = Select(features=EmbedClip(sentence="{a}{label}"))
    planned = plan_selection(settings, {"mug": 10, "shoe": 4}, {"copies": 25})
    assert planned.stages["embed"].gpu_seconds > 0
    assert planned.stages["embed_text"].artifacts == 2
