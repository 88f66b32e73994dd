"""Painting into real scenes: what is planned, what needs what, and a whole run on drawn scenes."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.config.recipe import load_recipe
from flows.generators.catalog import find_generator
from flows.generators.ddpm_repaint import (
    GENERATOR,
    Settings,
    choose_inputs,
    fit_class,
    paint_shard,
)
from flows.items import make_items
from flows.planning import plan_generator
from models.data.records import Annotation, Artifact, SourceImage
from tasks.engine.planning_run import PlanningRun
from tasks.engine.work_items import ItemConfig, SharedInputs, WorkItem
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.tiny import Cli

RECIPE = """\
profile: classical
ingest: {objects: scene}
generators:
  ddpm_repaint:
    classes: [block]
    squares: {context: 1.5}
    base:
      {size: 16, multipliers: [1], attention_factors: [], squares: 4, steps: 2, batch: 2,
       evaluate_every: 2, samples: 2, sample_spacing: "2"}
    fit: {steps: 2, batch: 2, evaluate_every: 2, samples: 2, sample_spacing: "2"}
    place: {per_scene: 1}
    repaint: {steps: 2, rounds: 1, candidates: 2, cherry_picker: {background: 10}}
screen:
  {min_contrast: 0, min_sharpness: 0, min_object: 0, max_object: 1, max_cut: 1,
   sibling_bits: 0, heldout_bits: 0}
resize: {longest_side: 128}
split: {compare_pictures: false}
datasets:
  - {name: real, real: all}
  - {name: painted, real: all, synthetic: {ddpm_repaint: all}}
train: null
quality: null
"""


def photo(name: str, *labels: str) -> SourceImage:
    image = Artifact(
        key=name, stage="ingest", version=1, name=name, media="png", digest=name, size=1
    )
    notes = tuple(Annotation(label=label, box=(1, 2, 30, 40)) for label in labels)
    return SourceImage(
        name=name,
        file=f"{name}.png",
        split="train",
        image=image,
        annotations=notes,
        counted_as=labels[0],
    )


PHOTOS = [photo("cup/0", "cup", "mug"), photo("mug/1", "mug"), photo("mug/2", "mug", "cup")]
CONFIG = ItemConfig(settings={}, finish={}, shared=SharedInputs())


def settings_of(**fields: Any) -> Settings:
    return Settings.model_validate(
        {"base": {"model": "from-scratch"}, "fit": {"model": "all-weights"}, **fields}
    )


def planned_item(sources: list[SourceImage], of_class: str = "", **fields: Any) -> WorkItem:
    return WorkItem(
        generator="ddpm_repaint",
        phase="fit",
        name=of_class,
        key="",
        sources=tuple(sources),
        of_class=of_class,
        **fields,
    )


def test_only_the_classes_that_get_objects_are_fitted() -> None:
    settings = settings_of(classes=["cup"])
    (item,) = make_items(GENERATOR, GENERATOR.phase("fit"), settings, PHOTOS, {}, CONFIG)
    assert (item.label, [source.name for source in item.sources]) == ("cup", ["cup/0", "mug/2"])
    both = make_items(GENERATOR, GENERATOR.phase("fit"), settings_of(), PHOTOS, {}, CONFIG)
    assert [item.label for item in both] == ["cup", "mug"]


def test_every_scene_gets_objects_of_each_class_with_its_own_weights() -> None:
    settings, run = settings_of(place={"versions": 2}), PlanningRun()
    made = {
        label: tuple(fit_class(run, settings, planned_item(PHOTOS, label), SharedInputs()))
        for label in ("cup", "mug")
    }
    inputs = choose_inputs(settings, PHOTOS, made)
    images = paint_shard(run, settings, planned_item(PHOTOS, inputs=inputs), SharedInputs())
    assert len(images) == 3 * 2 * 2
    fitted = {found.id: found.variant["label"] for found in inputs if found.stage == "fit_ddpm"}
    for image in images:
        (own,) = [fitted[parent] for parent in image.parents if parent in fitted]
        assert image.variant["label"] == own
    assert run.stages["place_objects"].artifacts == run.stages["placement_picture"].artifacts == 12
    one = settings_of(classes=["mug"])
    assert {found.metadata["of_class"] for found in choose_inputs(one, PHOTOS, made)} == {"mug"}


def test_backgrounds_are_shared_out_among_the_shards() -> None:
    rooms = tuple(photo(f"backgrounds/{number}", "-").image for number in range(11))
    shared = SharedInputs(backgrounds=rooms)
    run = PlanningRun()
    inputs = tuple(fit_class(run, settings_of(), planned_item(PHOTOS, "cup"), shared))
    names = []
    for where, number, count in (("backgrounds", 0, 8), ("backgrounds", 1, 3), ("both", 1, 6)):
        item = planned_item(PHOTOS, inputs=inputs, number=number)
        images = paint_shard(run, settings_of(scenes=where), item, shared)
        names.append([image.name for image in images])
        assert len(images) == count
    assert sorted(names[0] + names[1]) == sorted(room.name for room in rooms)
    assert names[2] == ["cup/0", "mug/1", "mug/2", *names[1]]


def test_a_plan_counts_scenes_versions_and_classes(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    recipe = load_recipe(path, ["generators.ddpm_repaint.place.versions=3"])
    settings = recipe.generators["ddpm_repaint"]
    planned, images = plan_generator(find_generator("ddpm_repaint"), settings, 10, 2, recipe.resize)
    assert images == planned.stages["repaint"].artifacts == 10 * 3
    assert planned.stages["fit_ddpm"].artifacts == 1
    slower = recipe.generators["ddpm_repaint"].model_copy(
        update={"repaint": settings.repaint.model_copy(update={"rounds": 20})}  # type: ignore[attr-defined]
    )
    more, _ = plan_generator(find_generator("ddpm_repaint"), slower, 10, 2, recipe.resize)
    assert more.stages["repaint"].cpu_seconds > planned.stages["repaint"].cpu_seconds


def test_profiles_name_the_networks() -> None:
    for profile, base, fit in (
        ("classical", "from-scratch", "all-weights"),
        ("diffusion", "adm-256", "adapters"),
    ):
        changes = [f"profile={profile}", "generators={ddpm_repaint: {}}"]
        settings: Any = load_recipe("permissive", changes).generators["ddpm_repaint"]
        assert (settings.base.model, settings.fit.model) == (base, fit)


def test_tight_masks_need_something_to_follow() -> None:
    with pytest.raises(ValueError, match=r"repaint\.mask: tight paints the mask"):
        settings_of(repaint={"mask": "tight"})
    tight = settings_of(
        repaint={"mask": "tight"}, fit={"model": "all-weights", "condition": "edges"}
    )
    assert GENERATOR.needs_of(tight) == {"masks"}
    found = tight.model_copy(update={"segment": object()})
    assert GENERATOR.needs_of(found) == frozenset()
    assert GENERATOR.needs_of(settings_of()) == frozenset()
    with pytest.raises(ValueError, match="nothing chooses among 4"):
        settings_of(repaint={"cherry_picker": None})


@pytest.mark.slow
def test_one_run_paints_a_rare_class_into_all_scenes(cli: Cli, tmp_path: Path) -> None:
    kinds = [["disc", "block"], ["disc"], ["disc"], ["disc", "block"], ["disc"], ["disc", "block"]]
    images = draw_images(tmp_path / "drawn", kinds)
    splits = {"train": images[:4], "val": images[4:5], "test": images[5:]}
    write_set(tmp_path / "photos", "coco", splits)
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "out"
    recipe.write_text(RECIPE)
    command = ("run", recipe, "--photos", tmp_path / "photos", "--out", out, "--json")
    summary = cli.run(*command).found
    stages = {name: count["computed"] for name, count in summary["stages"].items()}
    assert stages["fit_ddpm"] == stages["pretrain_ddpm"] == stages["fit_cherry_picker"] == 1
    assert stages["object_square"] == 2
    assert stages["repaint"] == stages["placement_picture"] == 4
    content = json.loads((out / "annotations" / "painted" / "train.json").read_bytes())
    painted = {e["id"]: e for e in content["images"] if e["generator"] == "ddpm_repaint"}
    assert len(painted) == 4
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    for image, entry in painted.items():
        assert entry["label"] == "block"
        assert entry["sample"].startswith("block/")
        assert len(entry["sources"]) >= 2
        found = [e for e in content["annotations"] if e["image_id"] == image]
        labels = [names[e["category_id"]] for e in found]
        real = kinds[int(entry["sample"].split("photo")[1][0])]
        assert sorted(labels) == sorted([*real, "block"])
    learned = json.loads((out / "metrics.json").read_bytes())["finetuned"]
    found = [
        (row["stage"], row["label"], len(row["losses"]), len(row["scores"])) for row in learned
    ]
    assert sorted(found) == [("fit_ddpm", "block", 2, 1), ("pretrain_ddpm", "network 1", 2, 1)]
    assert "How fit_ddpm learned" in (out / "report.html").read_text(encoding="utf-8")
    again = cli.run(*command).found
    assert again["stages"]["repaint"]["computed"] == 0
