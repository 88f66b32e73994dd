"""Food-101 is read as torchvision's loader reads it."""

import shutil
from pathlib import Path

import pytest
from torchvision.datasets import Food101

from models.data.formats.annotated import AnnotationError
from models.data.formats.detect import detect_format
from models.data.formats.food101 import read_food101
from tests.models.data.formats.published_cases import write_food101


@pytest.mark.parametrize("level", ["set", "parent"])
def test_files_labels_and_splits_are_those_of_torchvision(tmp_path: Path, level: str) -> None:
    base = write_food101(tmp_path)
    folder = base if level == "set" else tmp_path
    assert detect_format(folder) == "food-101"
    read = read_food101(folder)
    assert read.classes == ["apple_pie", "pho"]
    assert not read.has_objects
    for split, number in (("train", 8), ("test", 6)):
        loader = Food101(tmp_path, split)
        assert len(loader) == len(read.splits[split]) == number
        for image, file, label in zip(
            read.splits[split], loader._image_files, loader._labels, strict=True
        ):
            assert image.file == file
            assert [item.label for item in image.objects] == [loader.classes[label]]


@pytest.mark.parametrize("part", ["images", "meta/train.json", "meta/test.json", "meta"])
def test_a_missing_part_is_named(tmp_path: Path, part: str) -> None:
    base = write_food101(tmp_path)
    path = base / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert detect_format(base) == "food-101"
    with pytest.raises(AnnotationError, match=r"food-101: \S+ is missing from food-101; unpack"):
        read_food101(base)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"pho": [', r"train\.json: is malformed"),
        ("[1, 2]", r"train\.json: is malformed"),
        ('{"pho": 3}', r"train\.json: is malformed"),
        ('{"pho": ["../../../secret"]}', r"train\.json: secret\.jpg leads out of the folder"),
    ],
)
def test_a_malformed_list_is_named(tmp_path: Path, text: str, line: str) -> None:
    base = write_food101(tmp_path)
    (base / "meta" / "train.json").write_text(text)
    with pytest.raises(AnnotationError, match=line):
        read_food101(base)


def test_class_folders_in_a_folder_of_its_name_are_class_folders(tmp_path: Path) -> None:
    base = write_food101(tmp_path)
    shutil.rmtree(base / "meta")
    for dish in (base / "images").iterdir():
        dish.rename(base / dish.name)
    (base / "images").rmdir()
    assert detect_format(base) == "folders"
    with pytest.raises(
        AnnotationError, match=r"is no food-101, which has images, meta/train\.json"
    ):
        read_food101(base)
