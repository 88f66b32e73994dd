"""Photos of a fixed camera look alike by nature. ``../shared/cases`` 22."""

import json
from pathlib import Path

import pytest

from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.store.store import open_store
from tests.cases.scripts import write_case
from tests.tiny import Cli, manifest_of


@pytest.mark.slow
def test_the_error_names_the_classes_that_look_alike_and_what_to_set(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_case("22_fixed_camera_defects", tmp_path / "photos", monkeypatch)
    out = tmp_path / "out"
    ended = cli.run("run", "demo", "--photos", photos, "--out", out, "--set", "train=null")
    assert ended.code == 1
    assert "'good' has 0 usable photos, needs 3: 16 near-duplicates of 'scratch'" in ended.complaint
    assert "'scratch' has 0 usable photos, needs 3: 16 near-duplicates of 'good'" in ended.complaint
    assert ended.complaint.endswith("set split.group_by=none, folder, prefix or a CSV")
    metrics = json.loads((out / "metrics.json").read_bytes())
    assert metrics["left_out"].keys() == {"good", "scratch"}
    assert len(metrics["refused"]) == len(manifest_of(out)) == 32
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("group_by", ["none", "folder", "prefix"])
def test_no_photo_is_refused_if_a_person_says_how_photos_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_by: str
) -> None:
    photos = write_case("22_fixed_camera_defects", tmp_path / "photos", monkeypatch)
    run = RunContext(open_store(tmp_path / "store"), "test")
    sources = ingest_photos(run, photos, Ingest(), SplitParameters(group_by=group_by))
    assert sources.refused == ()
    assert sources.warnings == ()
    for split in ("train", "val", "test"):
        assert {image.label for image in sources.of(split)} == {"good", "scratch"}


def test_given_splits_and_one_group_per_day_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_case("22_fixed_camera_defects", tmp_path / "shots", monkeypatch)
    for label in ("good", "scratch"):
        for number in range(16):
            day = f"day{number // 2}"
            split = "test" if number < 6 else "train"
            path = tmp_path / "photos" / split / label / day / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            (photos / label / f"{number}.jpg").rename(path)
    run = RunContext(open_store(tmp_path / "store"), "test")
    splits = SplitParameters(group_by="folder")
    sources = ingest_photos(run, tmp_path / "photos", Ingest(), splits)
    assert sources.refused == ()
    splits_of = ("train", "val", "test")
    days = {split: {image.file.split("/")[2] for image in sources.of(split)} for split in splits_of}
    assert days["test"] == {"day0", "day1", "day2"}
    assert days["train"]
    assert days["val"]
    assert days["train"].isdisjoint(days["val"])
