"""What is done again after a change: exactly what depends on it, counted stage by stage."""

import json
import shutil
from pathlib import Path

import pytest

from tests.tiny import (
    ALL,
    CLASSES,
    ONE_REFERENCE,
    PER_CLASS,
    REFERENCES,
    Cli,
    Run,
    Undisturbed,
    child_runs,
    computed,
    draw_photo,
    files_of,
    manifest_of,
    now,
    present,
    records_of,
)

SCENE_ON = {
    stage: ONE_REFERENCE[stage]
    for stage in ("background", "outpaint", "measure", "screen", "resize", "annotate")
}
# The real dataset, and the network trained on it, know nothing of synthetic images.
TWO_DATASETS = {"dataset": 2, "train": 2, "score": 2}


@pytest.fixture
def again(undisturbed: Undisturbed, tmp_path: Path) -> Run:
    """The undisturbed run once more, with copies of its store and its photos to change."""
    shutil.copytree(undisturbed.photos, tmp_path / "photos")
    return undisturbed.copy_to(tmp_path / "out", photos=tmp_path / "photos")


@pytest.fixture
def drawn(undisturbed: Undisturbed) -> str:
    """A reference of the first class with images in all datasets, as ``<class>/<stem>``."""
    content = json.loads((undisturbed.out / "annotations/mixed/train.json").read_text())
    return next(
        str(image["sources"][0])
        for image in content["images"]
        if image["generator"] and image["label"] == CLASSES[0]
    )


@pytest.mark.slow
def test_the_first_run_computes_every_artifact_once(undisturbed: Undisturbed) -> None:
    assert computed(undisturbed.summary) == ALL
    assert present(undisturbed.summary) == ALL
    assert len(records_of(undisturbed.store)) == sum(ALL.values())
    assert set(undisturbed.summary["references"].values()) == {"computed"}
    volume = dict.fromkeys(CLASSES, PER_CLASS["train"])
    datasets = undisturbed.summary["datasets"]
    assert {name: splits["train"] for name, splits in datasets.items()} == dict.fromkeys(
        ("real", "synthetic", "mixed"), volume
    )


@pytest.mark.slow
def test_an_unchanged_rerun_computes_nothing_and_starts_no_child_run(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed.out, out)
    again = Run(undisturbed.recipe, undisturbed.photos, out)
    records, written = records_of(again.store), times_of(out / "datasets")
    since = now()
    summary = cli.run(*again.arguments).found

    assert computed(summary) == {}
    assert present(summary) == ALL
    assert child_runs(since) == []
    assert set(summary["references"].values()) == {"cached"}
    assert set(summary["trained"].values()) == {"cached"}
    assert records_of(again.store) == records
    assert times_of(out / "datasets") == written
    assert manifest_of(out) == undisturbed.rows


@pytest.mark.slow
def test_a_changed_photo_recomputes_what_was_made_from_it(cli: Cli, again: Run, drawn: str) -> None:
    draw_photo(again.photos / "train" / f"{drawn}.png", CLASSES[0], seed=99)
    since = now()
    summary = cli.run(*again.arguments).found

    redone = ONE_REFERENCE | {"resize": ONE_REFERENCE["resize"] + 1, "ingest": 1}
    assert computed(summary) == redone | {"dataset": 3, "train": 3, "score": 3}
    assert present(summary) == ALL
    assert child_runs(since) == [drawn]
    assert [name for name, state in summary["references"].items() if state != "cached"] == [drawn]


@pytest.mark.slow
def test_a_changed_test_photo_is_screened_against_and_scored_on(cli: Cli, again: Run) -> None:
    photo = next((again.photos / "test" / CLASSES[0]).iterdir())
    draw_photo(photo, CLASSES[0], seed=98)
    summary = cli.run(*again.arguments).found

    once = {"ingest": 1, "heldout": 1, "resize": 1, "dataset": 1}
    assert computed(summary) == once | {"screen": REFERENCES, "score": 3}
    assert set(summary["trained"].values()) == {"cached"}


@pytest.mark.slow
def test_a_prompt_file_of_a_photo_recomputes_its_scenes(cli: Cli, again: Run, drawn: str) -> None:
    prompt = again.photos / "train" / f"{drawn}.txt"
    prompt.write_text("a painted block on wet sand")
    since = now()
    summary = cli.run(*again.arguments).found

    assert computed(summary) == SCENE_ON | {"caption": 1} | TWO_DATASETS
    assert present(summary) == ALL
    assert child_runs(since) == [drawn]
    prompts = {row["prompt"] for row in manifest_of(again.out) if row["sources"] == [drawn]}
    assert all("a painted block on wet sand" in prompt for prompt in prompts)


@pytest.mark.slow
def test_a_prompt_of_a_class_recomputes_the_scenes_of_that_class(cli: Cli, again: Run) -> None:
    change = f"generators.multiview.caption.prompts={{{CLASSES[1]}: a disc on gravel}}"
    summary = cli.run(*again.arguments, "--set", change).found

    photos = PER_CLASS["train"]
    scenes = {stage: photos * count for stage, count in SCENE_ON.items()}
    assert computed(summary) == scenes | {"caption": photos} | TWO_DATASETS
    assert present(summary) == ALL


@pytest.mark.slow
def test_a_parameter_recomputes_its_stage_and_what_depends_on_it(
    cli: Cli, again: Run, undisturbed: Undisturbed
) -> None:
    summary = cli.run(
        *again.arguments, "--set", "generators.multiview.outpaint.max_shift=0.05"
    ).found

    stages = [stage for stage in SCENE_ON if stage != "background"]
    redone = {stage: REFERENCES * ONE_REFERENCE[stage] for stage in stages}
    assert computed(summary) == redone | TWO_DATASETS
    assert present(summary) == ALL
    real = {name for name in undisturbed.datasets if name.startswith(("real/", "test/"))}
    assert real == {
        name
        for name, digest in files_of(again.out / "datasets").items()
        if undisturbed.datasets.get(name) == digest and name.startswith(("real/", "test/"))
    }


def times_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of writing (ns) of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
