"""The whole diffusion profile on tiny random checkpoints, through the code that loads real ones."""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tasks.engine.results import Expansion, load_expansion

from flows.config.checkpoints import checkpoints_in, pin_checkpoints, used_models, warnings_of
from flows.config.recipe import Recipe, load_recipe
from flows.generators.multiview import STAGES, expand
from models.checkpoints.errors import CheckpointMissingError
from models.data.find_photos import find_photos
from models.data.records import Artifact, Reference
from models.reporting.input import Gap
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs
from tasks.ingest.photos import ingest_photos
from tasks.report.contact_sheets import draw_sheet
from tasks.screen.screen import HeldOut, index_heldout
from tasks.store.store import open_store
from tests.checkpoints.everything import build_models_folder
from tests.demo_scenes.render import write_photos
from tests.tiny import Cli, manifest_of

TINY = Path(__file__).parents[1] / "checkpoints" / "tiny.yaml"
ONE_REFERENCE = {
    **{"upscale": 8, "multiview": 7, "caption": 1, "augment": 7, "segment": 9, "depth": 7},
    **{"baseline": 2, "screen": 1},
}
NETWORKS = {
    *("upscale", "multiview", "upscale_views", "segment", "depth", "caption", "background"),
    *("outpaint", "baseline"),
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


def prepare(
    recipe: Recipe, photos: Path, store: Path
) -> tuple[RunContext, Reference, SharedInputs]:
    """A workbench, one reference photo, and the index of held-out ones."""
    run = RunContext(open_store(str(store)), "tiny")
    taken = ingest_photos(run, find_photos(photos)[0], recipe.ingest, recipe.split)
    heldout = index_heldout(run, HeldOut(), [one.photo for one in taken.of("val", "test")])
    return run, taken.of("train")[0], SharedInputs(heldout=tuple(heldout))


def views_stand_below_each_other(
    run: RunContext, reference: Reference, expansion: Expansion | None
) -> None:
    """Each column of the contact sheet shows one view, with a gap from where it was rejected."""
    assert expansion is not None
    sheet = draw_sheet(run, reference.name, reference.label, expansion)
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
        "baseline",
        "segment",
    ]
    views = {row.stage: row for row in sheet.rows[2:11]}
    made = by_stage(run)
    for stage in ("multiview", "segment", "depth", "masked_depth", "background", "outpaint"):
        row = views[stage]
        assert row.columns == tuple(f"view {view}" for view in range(7))
        assert len(row.cells) == (4 if stage == "outpaint" else 1) * 7
        artifacts = {
            (artifact.variant["view"], artifact.variant.get("shift", 0)): artifact
            for artifact in made[stage]
            if "view" in artifact.variant
        }
        for index, cell in enumerate(row.cells):
            artifact = artifacts.get((index % 7, index // 7))
            if isinstance(cell, Gap):
                assert cell.reason == (artifact.reject_reason if artifact else "")
            else:
                assert artifact is not None
                assert np.array_equal(cell.pixels, run.load(artifact))
    assert dict(views["caption"].words)["caption"] == made["caption"][0].prompt
    assert views["background"].words[0] == ("first prompt", made["background"][0].prompt)
    assert sheet.rows[11].columns == ("baseline 0", "baseline 1")


def by_stage(run: RunContext) -> dict[str, list[Artifact]]:
    made: dict[str, list[Artifact]] = {}
    for artifact in run.made.values():
        made.setdefault(artifact.stage, []).append(artifact)
    return made


@pytest.mark.slow
def test_one_reference_goes_through_every_network_without_a_network(
    recipe: Recipe, photos: Path, tmp_path: Path, no_network: list[str]
) -> None:
    run, reference, beside = prepare(recipe, photos, tmp_path / "store")
    started = time.monotonic()
    expanded = expand(run, recipe, reference, beside)
    assert time.monotonic() - started < 120
    made = by_stage(run)
    assert {stage: len(made[stage]) for stage in ONE_REFERENCE} == ONE_REFERENCE
    # Random networks see no object in some views.
    rejected = {one.stage for one in run.made.values() if one.reject_reason}
    assert rejected <= {"segment"}
    cut_out = [one for one in made["segment"] if not one.reject_reason and "view" in one.variant]
    assert len(cut_out) >= 4
    for stage, each in (("masked_depth", 1), ("background", 1), ("outpaint", 4)):
        assert len(made[stage]) == each * len(cut_out)
    assert expanded.images == 4 * len(cut_out)
    for stage in {*ONE_REFERENCE, "background", "outpaint"} - {"augment", "screen"}:
        for artifact in made[stage]:
            assert artifact.revision is not None, stage
            assert all("@local-" in one for one in artifact.revision.split(" + "))
            assert artifact.licence not in (None, "Apache-2.0") or stage == "depth"
    assert no_network == []

    views_stand_below_each_other(run, reference, load_expansion(run.store, expanded.key))

    again, _, _ = prepare(recipe, photos, tmp_path / "store")
    counts = expand(again, recipe, reference, beside).counts
    assert not any(count.computed for count in counts.values())

    elsewhere, _, _ = prepare(recipe, photos, tmp_path / "elsewhere")
    expand(elsewhere, recipe, reference, beside)
    first = {one.id: one.digest for one in run.made.values()}
    assert {one.id: one.digest for one in elsewhere.made.values()} == first


EVERY_OTHER_NETWORK = [
    *("segment.model=sam", "segment.refine=vitmatte", "depth.model=depth-anything"),
    *("caption.model=florence-2", "caption.max_new_tokens=6", "multiview.views=2"),
    *("background.few_step=4", "background.paste_back=true"),
    'background.prompt="{a}{label}"',
    'background.scenes=["in a (dark:1.3) room"]',
    "outpaint.vae=cross-attention/asymmetric-autoencoder-kl-x-2",
    *(
        f"{stage}.safety_checker=CompVis/stable-diffusion-safety-checker"
        for stage in ("background", "outpaint", "baseline")
    ),
]


@pytest.mark.slow
def test_every_other_network_in_its_place(
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
    run, reference, beside = prepare(recipe, photos, tmp_path / "store")
    expanded = expand(run, recipe, reference, beside)
    made = by_stage(run)
    used = " ".join({str(one.revision) for one in run.made.values()})
    for checkpoint in (
        *("facebook/sam-vit-base", "hustvl/vitmatte-small-composition-1k"),
        *("depth-anything/Depth-Anything-V2-Small-hf", "florence-community/Florence-2-base"),
        *("ByteDance/SDXL-Lightning", "cross-attention/asymmetric-autoencoder-kl-x-2"),
        "CompVis/stable-diffusion-safety-checker",
    ):
        assert f"{checkpoint}@local-" in used
    scenes = [one for one in made["background"] if not one.reject_reason]
    assert scenes
    for scene in scenes:
        assert str(scene.prompt).endswith("a bottle in a (dark)1.3 room, highly detailed photo"), (
            scene.prompt
        )
        assert (scene.metadata["scene"], scene.metadata["retries"]) == ("in a dark room", 0)
    assert {one.variant["border"] for one in made["outpaint"]} == {
        "an empty background in a dark room"
    }
    assert expanded.images == len(made["outpaint"]) == 4 * len(scenes)
    assert len(made["baseline"]) == 2
    assert no_network == []


@pytest.mark.slow
def test_the_command_line_leaves_a_report_with_every_intermediate(
    cli: Cli, models_folder: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = cli.run(
        *("run", TINY, "--photos", photos, "--out", out, "--json"),
        SYNTHSET_MODELS=str(models_folder),
        HF_ENDPOINT="http://127.0.0.1:9",
    ).found
    assert set(found["references"].values()) == {"computed"}
    assert set(found["datasets"]) == {"real", "synthetic", "mixed", "baseline"}
    page = (out / "report.html").read_text(encoding="utf-8")
    for stage in ("multiview", "depth", "segment", "masked_depth", "background", "outpaint"):
        assert re.search(rf">\s*{stage}\s*<", page), stage
    assert "image-to-image, for comparison: drawn from the photo alone" in page
    assert "not for commercial use" in page
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    used = {(one["stage"], one["model"]) for one in metrics["models"]}
    assert ("multiview", "sudo-ai/zero123plus-v1.2") in used
    assert {stage for stage, _ in used} == NETWORKS
    rows = [row for row in manifest_of(out) if row["origin"] == "synthetic"]
    assert any("baseline" in row["stage_chain"] for row in rows)
    outpainted = [row for row in rows if "outpaint" in row["stage_chain"]]
    assert all("CC-BY-NC-4.0" in row["licences"] for row in outpainted)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "sudo-ai/zero123plus-v1.2" in card
    assert "not allowed" in card


def test_another_revision_of_a_checkpoint_is_other_work(recipe: Recipe) -> None:
    stage = next(one for one in STAGES if one.name == "depth")
    other = recipe.depth.model_copy(update={"checkpoint": "Intel/dpt-large@another"})
    assert stage.key_params(recipe.depth) != stage.key_params(other)
    assert "depth_anything" not in stage.key_params(recipe.depth)


def test_a_classical_recipe_keeps_its_keys_whatever_the_networks_settings() -> None:
    before = load_recipe("demo")
    after = load_recipe("demo", ["background.guidance_scale=9", "outpaint.steps=7"])
    assert before.expanding() == after.expanding()


def test_the_profile_names_the_models_that_a_recipe_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("profile: diffusion\nsegment: {model: grabcut}\nbaseline: null\n")
    recipe = load_recipe(path)
    assert (recipe.segment.model, recipe.depth.model) == ("grabcut", "dpt")
    assert recipe.baseline is None
    assert load_recipe(path, ["profile=classical"]).depth.model == "relief"


def test_every_checkpoint_of_a_recipe_is_pinned_once(recipe: Recipe) -> None:
    references = checkpoints_in(recipe)
    assert len(references) == len(set(references)) == 10
    assert all("@local-" in one for one in references)
    assert pin_checkpoints(recipe) == recipe


def test_terms_are_told_before_anything_is_made(recipe: Recipe) -> None:
    warnings = " ".join(warnings_of(recipe))
    assert "zero123plus-v1.2 is under CC-BY-NC-4.0" in warnings
    assert "xuebinqin/IS-Net has no stated terms" in warnings
    study = " ".join(warnings_of(load_recipe("multiview")))
    assert "asymmetric-autoencoder-kl-x-2 has no stated terms" in study
    assert not warnings_of(load_recipe("permissive"))
    assert not warnings_of(load_recipe("demo"))
    rows = used_models(load_recipe("demo"))
    assert {row["licence"] for row in rows} == {"Apache-2.0"}


def test_a_machine_without_weights_is_told_what_to_run(
    cli: Cli, photos: Path, tmp_path: Path
) -> None:
    complaint = cli.run(
        *("run", "multiview", "--photos", photos, "--out", tmp_path / "out"),
        SYNTHSET_MODELS=str(tmp_path / "empty"),
    ).complaint
    assert "synthset models pull --recipe multiview" in complaint
    assert "--profile classical" in complaint
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_the_catalog_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path))
    recipe = load_recipe("multiview", ["depth.checkpoint=Intel/dpt-lage"])
    with pytest.raises(CheckpointMissingError, match="did you mean Intel/dpt-large"):
        pin_checkpoints(recipe)
