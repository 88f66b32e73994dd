"""Oxford-IIIT Pet is read as torchvision's loader reads it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import OxfordIIITPet

from models.data.formats.annotated import AnnotationError, box_of_mask
from models.data.formats.detect import detect_format
from models.data.formats.oxford_pets import read_pets
from models.data.formats.polygons import encode_runs
from models.data.trimaps import solid_mask
from tests.models.data.formats.published_cases import write_pets


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pets(tmp_path_factory.mktemp("pets"))


@pytest.fixture
def copy(pets: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pets, tmp_path / "data" / pets.name))


@pytest.mark.parametrize("level", ["set", "parent"])
def test_files_labels_splits_and_trimaps_are_those_of_torchvision(pets: Path, level: str) -> None:
    folder = pets if level == "set" else pets.parent
    assert detect_format(folder) == "oxford-iiit-pet"
    read = read_pets(folder)
    assert read.classes == ["Abyssinian", "Saint Bernard"]
    assert list(read.splits) == ["train", "test"]
    for split, official in (("train", "trainval"), ("test", "test")):
        loader = OxfordIIITPet(pets.parent, official, ["category", "segmentation"])
        assert len(loader) == len(read.splits[split]) == 8
        for image, (photo, (number, trimap)) in zip(read.splits[split], loader, strict=True):
            (item,) = image.objects
            levels = np.asarray(trimap)
            assert item.label == loader.classes[number]
            assert (image.width, image.height) == photo.size
            pet = solid_mask(np.array([0, 255, 0, 128], np.uint8)[levels])
            np.testing.assert_array_equal(item.mask, pet)
            assert item.box == box_of_mask(pet)
            assert item.border_runs == encode_runs(levels == 3)
        assert [image.file for image in read.splits[split]] == loader._images


def test_labels_alone_need_no_photo(copy: Path) -> None:
    read = read_pets(copy)
    for file in copy.rglob("*.[jp][pn]g"):
        file.write_bytes(b"no image")
    bare = read_pets(copy, labels_only=True)
    for split, images in read.splits.items():
        known = [(image.file, image.objects[0].label) for image in images]
        assert [(image.file, image.objects[0].label) for image in bare.splits[split]] == known


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("annotations/trimaps", "annotations/trimaps is missing from oxford-iiit-pet; unpack"),
        ("annotations/test.txt", r"annotations/test\.txt is missing from oxford-iiit-pet; unpack"),
        ("images", "images is missing from oxford-iiit-pet; unpack its archives there"),
    ],
)
def test_a_missing_part_is_named(copy: Path, part: str, line: str) -> None:
    path = copy / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert detect_format(copy) == "oxford-iiit-pet"
    with pytest.raises(AnnotationError, match=line):
        read_pets(copy)
    if path.suffix == "":
        path.mkdir()
        with pytest.raises(AnnotationError, match=line):
            read_pets(copy)


def test_another_name_of_the_folder_needs_a_link(copy: Path) -> None:
    other = copy.rename(copy.parent / "pets")
    assert detect_format(other) == "oxford-iiit-pet"
    with pytest.raises(AnnotationError, match="rename the folder to oxford-iiit-pet, or link it"):
        read_pets(other)
    copy.symlink_to(other)
    assert len(read_pets(copy).splits["test"]) == 8
    other.rename(other.with_name("x"))
    copy.unlink()
    other.with_name("x").rename(copy)
    other.symlink_to(copy)
    (first, *_) = read_pets(other).splits["test"]
    assert first.file == other / "images" / "Abyssinian_1.jpg"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("Abyssinian_1 1 1", r"test\.txt: is malformed \(not enough values"),
        ("Abyssinian_1 one 1 1", r"test\.txt: is malformed \(invalid literal"),
        ("../../Abyssinian_1 1 1 1", r"Abyssinian_1\.jpg leads out of the folder"),
        ("Abyssinian_2 1 1 1", r"Abyssinian_2\.jpg is in train and in test; keep it in one"),
    ],
)
def test_a_malformed_list_is_named(copy: Path, row: str, line: str) -> None:
    (copy / "annotations" / "test.txt").write_text(f"{row}\n")
    with pytest.raises(AnnotationError, match=line):
        read_pets(copy)


def test_photos_that_can_not_be_used_say_why(copy: Path) -> None:
    trimaps, images = copy / "annotations" / "trimaps", copy / "images"
    (trimaps / "Abyssinian_1.png").unlink()
    (trimaps / "Abyssinian_3.png").write_bytes(b"no image")
    write_levels(trimaps / "Abyssinian_5.png", (40, 44), 7)
    write_levels(trimaps / "Abyssinian_7.png", (40, 44), 2)
    write_levels(trimaps / "saint_bernard_1.png", (20, 22), 1)
    (images / "saint_bernard_3.jpg").unlink()
    (images / "saint_bernard_5.jpg").write_bytes(b"no image")
    read = read_pets(copy)
    assert {image.file.stem: image.problem for image in read.splits["test"] if image.problem} == {
        "Abyssinian_1": "its trimap is missing",
        "Abyssinian_3": "its trimap is no sound PNG",
        "Abyssinian_5": "its trimap has other values than 1, 2 and 3",
        "Abyssinian_7": "its trimap shows no pet",
        "saint_bernard_1": "its trimap is 22x20 px, the photo 44x40 px",
        "saint_bernard_5": "the content is text, not an image",
    }
    assert len(read.splits["test"]) == 8


def write_levels(file: Path, shape: tuple[int, int], level: int) -> None:
    Image.fromarray(np.full(shape, level, np.uint8)).save(file)
