"""A study uses the images of an earlier run, continues where it stopped, and repeats nothing."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.config.recipe import Recipe, load_recipe
from flows.config.study import BASELINES
from flows.pipeline import RunPaths
from flows.studies import points as study_points
from flows.study import StudyResult, study
from tasks.study.grid import Grid, Method
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.tiny import Undisturbed, files_of

pytestmark = pytest.mark.usefixtures("prefect_server")
LINEAR = ["train.classifier=linear", "train.linear_copies=2", "train.augment=none"]
RARE = """\
profile: classical
ingest: {objects: scene}
generators:
  copy_paste: {classes: [block], cut_outs: {min_side: 4}, scenes: {blends: 1, placing: {}}}
screen:
  {min_contrast: 0, min_sharpness: 0, min_object: 0, max_object: 1, max_cut: 1,
   sibling_bits: 0, heldout_bits: 0}
split: {compare_pictures: false}
train:
  {task: detection, epochs: 1, steps_per_epoch: 1, image_size: 64, batch_size: 2, loggers: [csv]}
"""
FILES = ("study.html", "study.parquet", "study.png", "study.svg")


@pytest.fixture
def paths(undisturbed: Undisturbed, tmp_path: Path) -> RunPaths:
    """The folders of a study with a copy of the store of a finished run."""
    undisturbed.copy_to(tmp_path)
    return RunPaths(
        photos=undisturbed.photos, out=tmp_path / "study", store=str(tmp_path / "store")
    )


def computed(result: StudyResult) -> dict[str, int]:
    return {stage: count.computed for stage, count in result.stages.items() if count.computed}


def read_recipe(undisturbed: Undisturbed, *changes: str) -> Recipe:
    return load_recipe(str(undisturbed.recipe), list(changes))


@pytest.mark.slow
def test_a_study_computes_only_what_an_earlier_run_and_study_lack(
    undisturbed: Undisturbed, paths: RunPaths
) -> None:
    recipe = read_recipe(undisturbed, *LINEAR)
    grid = Grid(photos_per_class=(2, 9), shares=(1, 50), seeds=1)
    first = study(recipe, paths, grid)
    assert first.trainings == len(BASELINES) + 1
    assert [line.partition(":")[0] for line in first.left_out] == [
        "9 photos per class",
        "2 photos per class + multiview images, 50 per photo",
    ]
    made = computed(first)
    # 4 train photos, 4 images of them, 2 val and 4 test photos.
    assert made.pop("embed") == 14
    # The test document of the earlier run has the same photos.
    assert made == {"dataset": 2, "train": first.trainings, "score": first.trainings}
    rows = pq.read_table(paths.out / "study.parquet").to_pylist()
    assert len(rows) == first.trainings * 2 * 3

    before = files_of(paths.out)
    assert sorted(before) == sorted(FILES)
    again = study(recipe, paths, grid)
    assert computed(again) == {}
    assert files_of(paths.out) == before


@pytest.mark.slow
def test_methods_are_compared_on_images_of_their_own_photos(
    undisturbed: Undisturbed, paths: RunPaths
) -> None:
    scenes = "{width: 64, height: 48, per_photo: 2, blends: 1, max_objects: 2, smallest: 0.5}"
    pasting = f"generators.copy_paste={{backdrops: {{count: 2}}, scenes: {scenes}}}"
    recipe = read_recipe(undisturbed, *LINEAR, pasting)
    grid = Grid(
        photos_per_class=("34%", "all"),
        photos_by=("alike",),
        images_per_class=(2,),
        methods={
            "few-shot": Method(augment="crop"),
            "hybrid": Method(synthetic={"multiview": 0.5, "copy_paste": 0.5}, real=False),
        },
        seeds=1,
    )
    result = study(recipe, paths, grid)
    assert result.left_out == ()
    assert result.trainings == 4
    rows = pq.read_table(paths.out / "study.parquet").to_pylist()
    found = {(row["photos_per_class"], row["method"]): row for row in rows}
    assert {point: (row["real"], row["synthetic"]) for point, row in found.items()} == {
        ("34%", "few-shot"): (2, 0),
        ("34%", "hybrid"): (0, 4),
        ("all", "few-shot"): (6, 0),
        ("all", "hybrid"): (0, 4),
    }


@pytest.mark.slow
def test_a_study_of_a_network_that_was_killed_continues(
    undisturbed: Undisturbed, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe(undisturbed, "train.epochs=1", "train.milestones=[]", "train.augment=none")
    grid = Grid(photos_per_class=(2,), shares=(1,), seeds=2)
    monkeypatch.setattr("flows.config.study.BASELINES", ("none",))
    score, calls = study_points.score, []

    def stop(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(study_points, "score", stop)
    with pytest.raises(KeyboardInterrupt):
        study(recipe, paths, grid)
    monkeypatch.setattr(study_points, "score", score)
    result = study(recipe, paths, grid)
    # The first replicate was scored, and the second one was trained.
    assert result.trainings == 4
    assert computed(result) == {"score": 2}
    assert result.answer.endswith(".")


@pytest.mark.slow
def test_images_are_made_of_the_photos_that_get_some(tmp_path: Path) -> None:
    kinds = [["disc", "block"], ["disc"], ["disc", "block"], ["disc", "block"], ["disc", "block"]]
    drawn = draw_images(tmp_path / "drawn", [*kinds, *kinds[:2], *kinds[:2]])
    splits = {"train": drawn[:5], "val": drawn[5:7], "test": drawn[7:]}
    write_set(tmp_path / "photos", "coco", splits)
    (tmp_path / "rare.yaml").write_text(RARE)
    grid = Grid(
        rare_class="block",
        photos_per_class=("50%", "100%"),
        fill="instances",
        learn_from="all",
        methods={"removal": Method(), "pasted": Method(synthetic={"copy_paste": 1.0})},
        seeds=1,
    )
    paths = RunPaths(
        photos=tmp_path / "photos", out=tmp_path / "study", store=str(tmp_path / "store")
    )
    made = computed(study(load_recipe(tmp_path / "rare.yaml"), paths, grid))
    # Objects of all four photos that show a block; two of them, and the other photo, are scenes.
    assert made["cut_out"] == 4
    assert made["place_objects"] == made["paste_objects"] == 3
