"""The whole diffusion profile on tiny random checkpoints, through the code that loads real ones."""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.config.changes import RecipeError
from flows.config.checkpoints import (
    checkpoint_warnings,
    checkpoints_in,
    pin_checkpoints,
    require_checkpoints,
    used_models,
)
from flows.config.recipe import Recipe, load_recipe
from flows.execution.run_items import Execution
from flows.finish import Finish
from flows.generate import generate
from flows.generators import multiview
from flows.generators.catalog import find_generator
from flows.planning import plan_generator
from models.checkpoints.errors import CheckpointMissingError
from models.data.records import Annotation, Artifact, SourceImage, Sources
from models.reporting.input import Gap
from tasks.engine.item_documents import load_record, load_samples
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import GenerationRecord, Result, SharedInputs, WorkItem
from tasks.generate.depth import depth
from tasks.ingest.photos import ingest_photos
from tasks.report.contact_sheets import draw_sheet
from tasks.screen.heldout_index import HeldOut, index_heldout
from tasks.store.store import open_store
from tests.checkpoints.everything import build_models_folder
from tests.demo_scenes.render import write_photos
from tests.tiny import Cli, manifest_of

FIELDS = Path(__file__).parent / "fields"
TINY = Path(__file__).parents[1] / "checkpoints" / "tiny.yaml"
MULTIVIEW = {
    "upscale": 8,
    "multiview": 7,
    "caption": 1,
    "augment": 7,
    "segment": 7,
    "depth": 7,
    "screen": 1,
}
IMAGE_TO_IMAGE = {"upscale": 1, "caption": 1, "image_to_image": 2, "segment": 2, "screen": 1}
GENERATORS = (
    *("multiview", "image_to_image", "text_to_image", "controlnet"),
    *("textual_inversion", "dreambooth"),
)
NETWORKS = {
    "upscale",
    "multiview",
    "upscale_views",
    "segment",
    "depth",
    "caption",
    "background",
    "outpaint",
    "image_to_image",
    "text_to_image",
    "controlnet",
}


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All checkpoints of the profile, pulled from a folder in the published layout."""
    folder = tmp_path_factory.mktemp("models")
    build_models_folder(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered scenes: three train photos and two test photos of each of two classes."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, train=4, test=2, classes=("bottle", "mug"))
    return folder


@pytest.fixture
def recipe(models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The tiny recipe, pinned to what is in the models folder."""
    monkeypatch.setenv("SYNTHSET_MODELS", str(models_folder))
    return pin_checkpoints(load_recipe(TINY))


class Item:
    """A finished work item of one generator: its result, its record, and its artifacts by stage."""

    def __init__(self, run: RunContext, result: Result) -> None:
        self.result = result
        record = load_record(run.store, result.key)
        assert record is not None
        self.record: GenerationRecord = record
        self.by_stage: dict[str, list[Artifact]] = {}
        for artifact in record.artifacts:
            self.by_stage.setdefault(artifact.stage, []).append(artifact)


def prepare(recipe: Recipe, photos: Path, store: Path) -> tuple[RunContext, Sources, SharedInputs]:
    """A run with its photos, and the index of the held-out ones."""
    run = RunContext(open_store(str(store)), "tiny")
    sources = ingest_photos(run, photos, recipe.ingest, recipe.split)
    heldout = [source.image for source in sources.of("val", "test")]
    return run, sources, SharedInputs(heldout=tuple(index_heldout(run, HeldOut(), heldout)))


def generate_one(recipe: Recipe, photos: Path, store: Path, name: str) -> tuple[RunContext, Item]:
    """One generator on the first train photo."""
    run, sources, shared = prepare(recipe, photos, store)
    references = sources.of("train")[:1]
    settings = recipe.generators[name]
    finish = Finish(screen=recipe.screen, resize=recipe.resize)
    (result,) = generate(run, name, settings, references, shared, finish, Execution())
    assert result.failure is None
    return run, Item(run, result)


def check_contact_sheet(run: RunContext, item: Item, recipe: Recipe) -> None:
    """Each column of the contact sheet shows one view, with a gap from where it was rejected."""
    planned, _ = plan_generator(
        find_generator("multiview"), recipe.generators["multiview"], 1, 1, recipe.resize
    )
    shown_as = {name: found.shown_as for name, found in planned.stages.items() if found.shown_as}
    shown_as["ingest"] = "the photo"
    sheet = draw_sheet(run, item.result.item, item.result.label, item.record, shown_as)
    assert [row.stage for row in sheet.rows] == [
        "ingest",
        "upscale",
        "multiview",
        "caption",
        "upscale",
        "augment",
        "segment",
        "depth",
        "masked_depth",
        "background",
        "outpaint",
    ]
    views = {row.stage: row for row in sheet.rows[2:]}
    for stage in ("multiview", "segment", "depth", "masked_depth", "background", "outpaint"):
        row = views[stage]
        assert row.columns == tuple(f"view {view}" for view in range(7))
        assert len(row.cells) == (4 if stage == "outpaint" else 1) * 7
        artifacts = {
            (artifact.variant["view"], artifact.variant.get("shift", 0)): artifact
            for artifact in item.by_stage[stage]
        }
        for index, cell in enumerate(row.cells):
            artifact = artifacts.get((index % 7, index // 7))
            if isinstance(cell, Gap):
                assert cell.reason == (artifact.reject_reason if artifact else "")
            else:
                assert artifact is not None
                assert np.array_equal(cell.pixels, run.load(artifact))
    assert dict(views["caption"].words)["caption"] == item.by_stage["caption"][0].prompt
    prompt = item.by_stage["background"][0].prompt
    assert views["background"].words[0] == ("first prompt", prompt)


def check_revisions(item: Item, without: set[str]) -> None:
    """Every artifact of a network says which revision of which checkpoints made it."""
    for stage in item.by_stage.keys() - without:
        for artifact in item.by_stage[stage]:
            assert artifact.revision is not None, stage
            assert all("@local-" in name for name in artifact.revision.split(" + "))
            assert artifact.licence not in (None, "Apache-2.0") or stage == "depth"


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    "name", [pytest.param("diffusion", marks=pytest.mark.e2e), "other_networks"]
)
def test_networks_run_with_every_field_changed(
    name: str,
    models_folder: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The published revisions are not those of the tiny checkpoints.
    text = re.sub(r"@[\w-]+", "", (FIELDS / f"{name}.yaml").read_text())
    (tmp_path / "fields.yaml").write_text(text)
    monkeypatch.setenv("SYNTHSET_MODELS", str(models_folder))
    changed = pin_checkpoints(load_recipe(tmp_path / "fields.yaml"))
    for generator in changed.generators:
        _, item = generate_one(changed, photos, tmp_path / "store", generator)
        assert item.result.made > 0 or generator == "image_to_image"


CLASSICAL = {
    "ingest",
    "augment",
    "masked_depth",
    "measure",
    "screen",
    "resize",
    "annotate",
}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_one_reference_passes_every_network_without_access_to_the_network(
    recipe: Recipe, photos: Path, tmp_path: Path, no_network: list[str]
) -> None:
    started = time.monotonic()
    run, item = generate_one(recipe, photos, tmp_path / "store", "multiview")
    assert time.monotonic() - started < 120
    made = item.by_stage
    assert {stage: len(made[stage]) for stage in MULTIVIEW} == MULTIVIEW
    # Random networks see no object in some views.
    rejected = {artifact.stage for artifact in item.record.artifacts if artifact.reject_reason}
    assert rejected <= {"segment"}
    cutouts = [artifact for artifact in made["segment"] if not artifact.reject_reason]
    assert len(cutouts) >= 4
    for stage, count in (("masked_depth", 1), ("background", 1), ("outpaint", 4)):
        assert len(made[stage]) == count * len(cutouts)
    assert item.result.made == 4 * len(cutouts)
    check_revisions(item, without=CLASSICAL)
    assert no_network == []
    check_contact_sheet(run, item, recipe)

    _, again = generate_one(recipe, photos, tmp_path / "store", "multiview")
    assert again.result.cached
    assert not any(count.computed for count in again.result.counts.values())

    _, elsewhere = generate_one(recipe, photos, tmp_path / "elsewhere", "multiview")
    assert [(artifact.id, artifact.digest) for artifact in elsewhere.record.artifacts] == [
        (artifact.id, artifact.digest) for artifact in item.record.artifacts
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_image_to_image_draws_variations_of_the_photo(
    recipe: Recipe, photos: Path, tmp_path: Path, no_network: list[str]
) -> None:
    run, item = generate_one(recipe, photos, tmp_path / "store", "image_to_image")
    assert {stage: len(item.by_stage[stage]) for stage in IMAGE_TO_IMAGE} == IMAGE_TO_IMAGE
    check_revisions(item, without=CLASSICAL)
    samples = load_samples(run.store, item.result.key)
    assert [sample.name for sample in samples] == [
        f"{item.result.item}_image{number}" for number in range(2)
    ]
    assert {sample.generator for sample in samples} == {"image_to_image"}
    assert no_network == []


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_images_without_a_mask_are_screened_and_accepted_with_their_label_alone(
    models_folder: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(models_folder))
    without_masks = "generators.image_to_image.segment=null"
    recipe = pin_checkpoints(load_recipe(TINY, [without_masks]))
    run, item = generate_one(recipe, photos, tmp_path / "store", "image_to_image")
    assert "segment" not in item.by_stage
    samples = load_samples(run.store, item.result.key)
    assert len(samples) == 2
    for sample in samples:
        assert sample.is_accepted
        assert "heldout_bits" in sample.scores
        assert sample.annotations == (Annotation(label=item.result.label),)
        assert sample.image.stage == "resize"


EVERY_OTHER_NETWORK = [
    "generators.multiview.segment.model=sam",
    "generators.multiview.segment.refine={}",
    "generators.multiview.depth.model=depth-anything",
    "generators.multiview.caption.model=florence-2",
    "generators.multiview.caption.max_new_tokens=6",
    "generators.multiview.multiview.views=2",
    "generators.multiview.background.few_step.steps=4",
    "generators.multiview.background.keep_original_pixels=true",
    'generators.multiview.background.prompt="{a}{label}"',
    'generators.multiview.background.scenes=["in a (dark:1.3) room"]',
    "generators.multiview.background.safety_checker=CompVis/stable-diffusion-safety-checker",
    "generators.multiview.outpaint.vae=cross-attention/asymmetric-autoencoder-kl-x-2",
    "generators.multiview.outpaint.safety_checker=CompVis/stable-diffusion-safety-checker",
    "generators.image_to_image.image_to_image.safety_checker="
    "CompVis/stable-diffusion-safety-checker",
]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_every_other_network_works_in_its_stage(
    models_folder: Path,
    photos: Path,
    tmp_path: Path,
    no_network: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SAM, ViTMatte, Depth Anything, Florence, Lightning, safety checkers, the object pasted back
    and the asymmetric VAE, together."""
    monkeypatch.setenv("SYNTHSET_MODELS", str(models_folder))
    recipe = pin_checkpoints(load_recipe(TINY, EVERY_OTHER_NETWORK))
    _, item = generate_one(recipe, photos, tmp_path / "store", "multiview")
    made = item.by_stage
    used = " ".join({str(artifact.revision) for artifact in item.record.artifacts})
    for checkpoint in (
        "facebook/sam-vit-base",
        "hustvl/vitmatte-small-composition-1k",
        "depth-anything/Depth-Anything-V2-Small-hf",
        "florence-community/Florence-2-base",
        "ByteDance/SDXL-Lightning",
        "cross-attention/asymmetric-autoencoder-kl-x-2",
        "CompVis/stable-diffusion-safety-checker",
    ):
        assert f"{checkpoint}@local-" in used
    scenes = [artifact for artifact in made["background"] if not artifact.reject_reason]
    assert scenes
    for scene in scenes:
        assert str(scene.prompt).endswith("a bottle in a (dark)1.3 room, highly detailed photo"), (
            scene.prompt
        )
        assert (scene.metadata["scene"], scene.metadata["retries"]) == ("in a dark room", 0)
    assert {artifact.variant["prompt"] for artifact in made["outpaint"]} == {
        "an empty background in a dark room"
    }
    assert item.result.made == len(made["outpaint"]) == 4 * len(scenes)
    _, variations = generate_one(recipe, photos, tmp_path / "store", "image_to_image")
    (checked, _) = variations.by_stage["image_to_image"]
    assert "CompVis/stable-diffusion-safety-checker@local-" in str(checked.revision)
    assert no_network == []


@pytest.mark.slow
def test_all_generators_fill_the_datasets_and_the_report_shows_every_stage(
    cli: Cli, models_folder: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = cli.run(
        "run",
        TINY,
        "--photos",
        photos,
        "--out",
        out,
        "--json",
        SYNTHSET_MODELS=str(models_folder),
        HF_ENDPOINT="http://127.0.0.1:9",
    ).found
    assert set(found["references"].values()) == {"computed"}
    datasets = {"real", "synthetic", "mixed", "image_to_image", "text_to_image"}
    assert set(found["datasets"]) == datasets
    page = (out / "report.html").read_text(encoding="utf-8")
    for stage in (*MULTIVIEW.keys() - {"screen"}, "background", "outpaint", *GENERATORS[1:]):
        assert re.search(rf">\s*{stage}\s*<", page), stage
    assert "not for commercial use" in page
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    used = {(row["stage"], row["model"]) for row in metrics["models"]}
    assert ("multiview", "sudo-ai/zero123plus-v1.2") in used
    assert {stage for stage, _ in used} == NETWORKS
    rows = manifest_of(out)
    by_generator = {
        name: [row for row in rows if row["generator"] == name and row["accepted"]]
        for name in GENERATORS
    }
    assert {"image_to_image", "segment"} <= set(by_generator["image_to_image"][0]["stages"])
    assert all("CC-BY-NC-4.0" in row["licences"] for row in by_generator["multiview"])
    assert by_generator["text_to_image"][0]["prompt"].startswith("a photo of whole ")
    assert metrics["arithmetic"]["text_to_image"]["unit"] == "class"
    assert metrics["arithmetic"]["text_to_image"]["total"] == 2 * 2
    for name, prompt in (("textual_inversion", "a photo of a <funny-ret>"), ("dreambooth", "sks")):
        assert all(prompt in row["prompt"] for row in by_generator[name])
        assert all({name, "text_to_image"} <= set(row["stages"]) for row in by_generator[name])
        assert all(len(row["sources"]) == 1 for row in by_generator[name])
        learned = [row for row in metrics["finetuned"] if row["stage"] == name]
        assert sorted(row["label"] for row in learned) == ["bottle", "mug"]
        assert {len(row["losses"]) for row in learned} == {4}
        assert f"How {name} learned" in page
    assert metrics["stages"]["text_to_image"]["computed"] == 2 * (2 + 1 + 2 + 1)
    for row in by_generator["controlnet"]:
        (note,) = json.loads(row["annotations"])
        assert note["mask"]
        assert {"segment", "condition", "controlnet"} <= set(row["stages"])
    for dataset, generator in zip(("synthetic", *GENERATORS[1:3]), GENERATORS[:3], strict=True):
        train = json.loads((out / f"annotations/{dataset}/train.json").read_text())["images"]
        assert {image["generator"] for image in train} == {generator}
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "sudo-ai/zero123plus-v1.2" in card
    assert "not allowed" in card


def test_another_revision_of_a_checkpoint_changes_the_key(recipe: Recipe) -> None:
    settings = recipe.generators["multiview"]
    assert isinstance(settings, multiview.Settings)
    other = settings.depth.model_copy(update={"checkpoint": "Intel/dpt-large@another"})
    assert depth.key_params(settings.depth) != depth.key_params(other)


def test_a_classical_recipe_refuses_the_settings_of_a_network() -> None:
    with pytest.raises(RecipeError, match="composite has no field guidance_scale"):
        load_recipe("demo", ["generators.multiview.background.guidance_scale=9"])


def test_keys_depend_on_the_settings_of_the_stages_alone() -> None:
    keys = planned_keys(load_recipe("demo"))
    assert planned_keys(load_recipe("demo", ["train.epochs=3", "name=other"])) == keys
    assert (
        planned_keys(load_recipe("demo", ["generators.multiview.outpaint.max_shift=0.01"])) != keys
    )


def planned_keys(recipe: Recipe) -> list[str]:
    """The ids of all artifacts of one photo."""
    photo = Artifact(
        key="p", stage="ingest", version=1, name="mug/a", media="png", digest="d", size=1
    )
    source = SourceImage(
        name="mug/a",
        file="mug/a.png",
        split="train",
        image=photo,
        annotations=(Annotation(label="mug"),),
    )
    item = WorkItem(generator="multiview", phase="images", name="mug/a", key="", sources=(source,))
    run = PlanningRun()
    multiview.make_images(run, _multiview_settings(recipe), item, SharedInputs())
    return list(run.made)


def _multiview_settings(recipe: Recipe) -> multiview.Settings:
    settings = recipe.generators["multiview"]
    assert isinstance(settings, multiview.Settings)
    return settings


def test_the_profile_decides_the_models_that_a_recipe_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("profile: diffusion\ngenerators: {multiview: {segment: {model: grabcut}}}\n")
    settings = _multiview_settings(load_recipe(path))
    assert (settings.segment.model, settings.depth.model) == ("grabcut", "dpt")
    classical = _multiview_settings(load_recipe(path, ["profile=classical"]))
    assert classical.depth.model == "relief"


def test_every_checkpoint_of_a_recipe_is_pinned_once(recipe: Recipe) -> None:
    references = checkpoints_in(recipe)
    assert len(references) == len(set(references)) == 13
    assert all("@local-" in reference for reference in references)
    assert pin_checkpoints(recipe) == recipe


def test_names_the_terms_of_checkpoints_before_anything_is_computed(recipe: Recipe) -> None:
    warnings = " ".join(checkpoint_warnings(recipe))
    assert "zero123plus-v1.2 is under CC-BY-NC-4.0" in warnings
    assert "xuebinqin/IS-Net has no stated terms" in warnings
    study = " ".join(checkpoint_warnings(load_recipe("multiview")))
    assert "asymmetric-autoencoder-kl-x-2 has no stated terms" in study
    assert not checkpoint_warnings(load_recipe("permissive"))
    assert not checkpoint_warnings(load_recipe("demo"))
    rows = used_models(load_recipe("demo"))
    assert {row["licence"] for row in rows} == {"Apache-2.0"}


def test_names_the_command_that_fetches_missing_weights(
    cli: Cli, photos: Path, tmp_path: Path
) -> None:
    complaint = cli.run(
        "run",
        "multiview",
        "--photos",
        photos,
        "--out",
        tmp_path / "out",
        SYNTHSET_MODELS=str(tmp_path / "empty"),
    ).complaint
    assert "synthset models pull --recipe multiview" in complaint
    assert "--profile classical" in complaint
    assert not (tmp_path / "out").exists()


def test_refuses_a_checkpoint_that_the_catalog_does_not_know(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path))
    recipe = load_recipe("multiview", ["generators.multiview.depth.checkpoint=Intel/dpt-lage"])
    with pytest.raises(CheckpointMissingError, match="did you mean Intel/dpt-large"):
        pin_checkpoints(recipe)


def test_a_generator_without_a_classical_model_is_not_offered_that_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path))
    own = tmp_path / "own.yaml"
    own.write_text("profile: diffusion\ngenerators: {text_to_image: {}}\n")
    with pytest.raises(CheckpointMissingError) as caught:
        require_checkpoints(load_recipe(own), "own.yaml")
    assert "synthset models pull --recipe own.yaml" in str(caught.value)
    assert "classical" not in str(caught.value)
