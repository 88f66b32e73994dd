"""Names of people's files, classes and recipes that other systems read in their own way."""

from pathlib import Path

import pytest

from flows.config.changes import RecipeError
from flows.config.check_classes import check_classes
from flows.config.recipe import load_recipe
from models.data.find_photos import find_photos
from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.report.write import report_document
from tasks.store.layout import document_name
from tasks.store.store import open_store
from tests.cases.scripts import write_case

PROMPTS = "generators.multiview.caption.prompts"


def labels_in(folder: Path) -> set[str]:
    return {photo.label for photo in find_photos(folder)[0]}


def test_classes_that_yaml_reads_as_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_case("10_labels_that_yaml_reads", tmp_path / "photos", monkeypatch)
    (folder / "recipe.yaml.txt").rename(tmp_path / "recipe.yaml")
    labels = labels_in(folder)
    assert labels == {"no", "007"}
    check_classes(load_recipe("demo", [f"{PROMPTS}={{no: a flag, 007: a spy}}"]), labels)
    with pytest.raises(ValueError, match=r"caption\.prompts: the photos have no class 'tpyo'"):
        check_classes(load_recipe("demo", [f"{PROMPTS}={{tpyo: unused}}"]), labels)
    with pytest.raises(RecipeError, match="caption was renamed: use generators"):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_class_called_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_case("h1_class_called_train", tmp_path / "photos", monkeypatch)
    photos, refused = find_photos(folder)
    assert {(photo.label, photo.split) for photo in photos} == {("train", None), ("disc", None)}
    assert len(photos) == 16
    assert refused == []


def test_names_without_latin_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_case("13_names_without_latin", tmp_path / "photos", monkeypatch)
    run = RunContext(open_store(tmp_path / "store"), "训练")
    sources = ingest_photos(run, folder, Ingest(), SplitParameters(compare_pictures=False))
    assert len({source.name for source in sources.images}) == 16
    assert sources.refused == ()
    names = {document_name(report_document(name, tmp_path)) for name in ("训练", "测试", "")}
    assert len(names) == 3
