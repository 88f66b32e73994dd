"""YOLO folders are read and written exactly, and malformed ones are refused by name."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.formats.annotated import AnnotatedImage, AnnotationError, Box, ObjectAnnotation
from models.data.formats.yolo import read_yolo, write_yolo
from models.data.pixels import Bools
from tests.models.data.formats.cases import (
    CLASSES,
    HEIGHT,
    WIDTH,
    assert_equal_objects,
    float_boxes,
    masks,
    pixel_boxes,
    write_image,
)
from tests.models.data.formats.test_polygons import has_hole


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(tmp_path_factory.mktemp("yolo") / "a.png")


def annotate(file: Path, *objects: ObjectAnnotation) -> AnnotatedImage:
    return AnnotatedImage(file, WIDTH, HEIGHT, objects)


@given(st.lists(st.one_of(float_boxes(), pixel_boxes()), max_size=4))
@settings(deadline=None)
def test_gives_back_the_boxes_that_were_written(image: Path, boxes: list[Box]) -> None:
    written = annotate(image, *(ObjectAnnotation("tea pot", box) for box in boxes))
    write_yolo(image.parent / "set", {"train": [written]}, CLASSES)
    dataset = read_yolo(image.parent / "set")
    assert dataset.classes == CLASSES
    assert_equal_objects(dataset.splits["train"][0], written)


@given(masks())
@settings(deadline=None)
def test_gives_back_masks_without_holes(image: Path, mask: Bools) -> None:
    written = annotate(image, ObjectAnnotation("mug", None, mask))
    folder = image.parent / "masks"
    if has_hole(mask):
        with pytest.raises(AnnotationError, match=r"a\.png: mug: the mask must have no hole"):
            write_yolo(folder, {"": [written]}, CLASSES)
        write_yolo(folder, {"": [written]}, CLASSES, boxes_only=True)
        assert_equal_objects(read_yolo(folder).splits[""][0], written, masks=False)
    else:
        write_yolo(folder, {"": [written]}, CLASSES)
        assert_equal_objects(read_yolo(folder).splits[""][0], written)


def test_refuses_a_mask_whose_box_is_another(tmp_path: Path) -> None:
    mask = np.ones((HEIGHT, WIDTH), np.bool_)
    item = ObjectAnnotation("mug", (3.0, 3.0, 4.0, 4.0), mask)
    written = annotate(write_image(tmp_path / "a.png"), item)
    with pytest.raises(AnnotationError, match="the box is not that of its mask"):
        write_yolo(tmp_path / "set", {"train": [written]}, CLASSES)


def test_writes_one_row_per_object_in_shares_of_the_image(tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.png", 40, 20)
    item = ObjectAnnotation("tea pot", (10.0, 5.0, 20.0, 10.0))
    write_yolo(tmp_path / "set", {"val": [AnnotatedImage(file, 40, 20, (item,))]}, CLASSES)
    assert (tmp_path / "set" / "labels" / "val" / "a.txt").read_text() == "2 0.5 0.5 0.5 0.5\n"
    config = yaml.safe_load((tmp_path / "set" / "data.yaml").read_text())
    assert config == {"path": ".", "val": "images/val", "names": dict(enumerate(CLASSES))}


def test_classes_that_yaml_reads_as_values_keep_their_names(tmp_path: Path) -> None:
    names = ["no", "007", "1e3", "2024-01-01", "null", "~", "12"]
    file = write_image(tmp_path / "a.png", 40, 20)
    items = tuple(ObjectAnnotation(name, (10.0, 5.0, 20.0, 10.0)) for name in names)
    write_yolo(tmp_path / "set", {"train": [AnnotatedImage(file, 40, 20, items)]}, names)
    config = tmp_path / "set" / "data.yaml"
    assert list(yaml.safe_load(config.read_text())["names"].values()) == names
    for listed in (", ".join(names), ", ".join(f'"{name}"' for name in names)):
        config.write_text(f"train: images/train\nnc: 7\nnames: [{listed}]\n")
        found = read_yolo(tmp_path / "set")
        assert found.classes == names
        assert [item.label for item in found.splits["train"][0].objects] == names


def make_set(folder: Path, row: str, config: str, images: str = "images/train") -> Path:
    """A YOLO folder with one image of 40 x 20 px; returns its label file."""
    write_image(folder / images / "a.png", 40, 20)
    label = folder / images.replace("images", "labels") / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text(row)
    (folder / "data.yaml").write_text(config)
    return label


@pytest.mark.parametrize(
    ("images", "entry"),
    [
        ("images/train", "images/train"),
        ("train/images", "../train/images"),
        ("train/images", "train/images"),
        ("images/train", "list.txt"),
    ],
)
def test_reads_both_customary_layouts(tmp_path: Path, images: str, entry: str) -> None:
    make_set(tmp_path, "1 0.5 0.5 0.5 0.5\n", f"train: {entry}\nnc: 2\nnames: [a, b]\n", images)
    write_image(tmp_path / images / "background.png")
    if entry.endswith(".txt"):
        (tmp_path / entry).write_text(f"{images}/a.png\n{images}/background.png\n")
    dataset = read_yolo(tmp_path)
    first, second = dataset.splits["train"]
    assert [(o.label, o.box) for o in first.objects] == [("b", (10, 5, 20, 10))]
    assert second.objects == ()


def test_reads_the_split_valid_as_val(tmp_path: Path) -> None:
    config = "train: train/images\nval: valid/images\nnames: {0: a, 1: b}\n"
    make_set(tmp_path, "0 0 0 1 0 1 1 0 1", config, "train/images")
    write_image(tmp_path / "valid" / "images" / "b.png")
    dataset = read_yolo(tmp_path)
    assert list(dataset.splits) == ["train", "val"]
    item = dataset.splits["train"][0].objects[0]
    assert item.mask is not None
    assert item.mask.all()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2 0.5 0.5 0.5 0.5", "class id 2 is unknown; there are 2"),
        ("-1 0.5 0.5 0.5 0.5", "class id -1 is unknown"),
        ("0 0.5 0.5 0.5", "4 columns"),
        ("0 0.5 0.5 0.5 0.5 0.9", "6 columns"),
        ("0 0.5 0.5 0.5 0.5 0.9 0.9 0.9", "8 columns"),
        ("0 0.5 0.5 0 0.5", "above 0"),
        ("0 0.5 0.5 -0.1 0.5", "above 0"),
        ("0 0.9 0.5 0.5 0.5", "outside the 40x20 px image"),
        ("0 20 10 20 10", "outside the 40x20 px image"),
        ("0 0 0 1 0 1 1.1", "polygon must lie in the"),
        ("0 0.5 0.5 half 0.5", "no number"),
        ("0 0.5 0.5 nan 0.5", "no number"),
        ("0 0.5 0.5 1e400 0.5", "no number"),
        ("0 0.5 0.5 0.5 0.5 0.5 0.5", "mask has no pixel"),
    ],
)
def test_refuses_a_wrong_row_with_file_and_line(tmp_path: Path, row: str, reason: str) -> None:
    label = make_set(tmp_path, f"\n{row}\n", "train: images/train\nnames: [a, b]")
    with pytest.raises(AnnotationError, match=reason) as raised:
        read_yolo(tmp_path)
    assert str(raised.value).startswith(f"{label}: line 2: ")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("names: [a", "no valid YAML"),
        ("[]", "must hold names"),
        ("train: images/train", "names must list"),
        ("names: [a, a]", "same name"),
        ("names: {1: a, 2: b}", "0, 1, 2"),
        ("names: [a]\nnc: 2", "nc is 2"),
        ("names: [a]\ntrain: elsewhere", "there is no folder 'elsewhere'"),
        ("names: [a]\ntrain: images/train\nval: images/train", "is in train and in val"),
    ],
)
def test_refuses_a_wrong_config(tmp_path: Path, config: str, reason: str) -> None:
    make_set(tmp_path, "0 0.5 0.5 0.5 0.5", config)
    with pytest.raises(AnnotationError, match=reason) as raised:
        read_yolo(tmp_path)
    assert str(raised.value).startswith(str(tmp_path / "data.yaml"))


def test_refuses_an_image_that_a_list_names_and_nobody_has(tmp_path: Path) -> None:
    make_set(tmp_path, "", "train: list.txt\nnames: [a]")
    (tmp_path / "list.txt").write_text("images/train/absent.png\n")
    with pytest.raises(AnnotationError, match=r"absent\.png is missing"):
        read_yolo(tmp_path)
