"""A class without images is left out; a run that can't go on keeps what it knows."""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from flows import early_end
from flows.config.recipe import Recipe
from flows.early_end import RunEndedError, Steps, report_early_end
from models.data.records import Sources
from tasks.engine.run_context import RunContext
from tasks.store.store import open_store
from tests.tiny import CLASSES, PER_CLASS, RECIPE, Cli, draw_photos, files_of, manifest_of

FOG = sum(PER_CLASS.values())


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    """A run without training on the tiny photos, and on a class in which no object is found."""
    draw_photos(tmp_path / "photos")
    number = 0
    for split, count in PER_CLASS.items():
        for _ in range(count):
            path = tmp_path / "photos" / split / "fog" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (96, 72), (90 + 20 * number,) * 3).save(path)
            number += 1
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    where = ("--photos", tmp_path / "photos", "--out", tmp_path / "out")
    return ["run", tmp_path / "tiny.yaml", *where, "--set", "train=null", "--json"]


@pytest.mark.slow
def test_one_class_without_images_ends_only_a_run_that_needs_it(
    cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = cli.run(*arguments).found
    why = found["left_out"]["fog"]
    assert why.startswith("has 0 usable of ")
    assert "images of multiview: " in why
    assert (out / "classes.txt").read_text().split() == list(CLASSES)
    assert not list((out / "datasets").rglob("fog"))
    rows = [row for row in manifest_of(out) if row["class"] == "fog"]
    assert Counter(row["accepted"] for row in rows if not row["generator"]) == {False: FOG}
    metrics = json.loads((out / "metrics.json").read_bytes())
    assert metrics["classes"] == list(CLASSES)
    assert metrics["left_out"] == found["left_out"]
    assert f"the class 'fog' {why}; it is left out" in metrics["notes"]

    before = files_of(out / "datasets") | {"report": (out / "report.html").read_text()}
    ended = cli.run(*arguments, "--set", "leave_out_classes=false")
    assert ended.code == 1
    assert f"1 of 3 classes have too few train images: 'fog' {why}" in ended.complaint
    early = out / "ended-early"
    assert f"report.html and manifest.parquet in {early} show what was made" in ended.err
    assert files_of(out / "datasets") | {"report": (out / "report.html").read_text()} == before
    metrics = json.loads((early / "metrics.json").read_bytes())
    assert metrics["problem"] in ended.complaint
    assert metrics["datasets"] == {}
    assert sum(metrics["rejects"].values()) > 0
    assert "The run ended early." in (early / "report.html").read_text()
    rows = manifest_of(early)
    assert sum(not row["generator"] for row in rows) == 3 * FOG
    assert sum(bool(row["generator"]) for row in rows) > 0

    assert cli.run(*arguments).code == 0
    assert not early.exists()


@pytest.mark.parametrize(
    ("first", "ended"),
    [(ValueError("too few images"), RunEndedError), (ZeroDivisionError("no step"), None)],
)
def test_an_error_of_the_report_does_not_hide_why_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Exception, ended: type[Exception] | None
) -> None:
    def write_nothing(*_: object) -> None:
        raise TypeError("not a\nfigure")

    monkeypatch.setattr(early_end, "write_report", write_nothing)
    run = RunContext(open_store(str(tmp_path / "store")), "run")
    steps = Steps(sources=Sources(images=(), refused=(), notes=()))
    with (
        pytest.raises(ended or type(first), match=str(first)) as raised,
        report_early_end(run, Recipe(), tmp_path / "out", steps),
    ):
        raise first
    assert first in (raised.value, raised.value.__cause__)
    (note,) = raised.value.__notes__
    assert note.endswith("can't be written: TypeError: not a figure")
