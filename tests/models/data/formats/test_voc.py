"""Pascal VOC folders are read and written exactly, and malformed ones are refused by name."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.datasets import VOCDetection, VOCSegmentation

from models.data.formats.annotated import AnnotatedImage, AnnotationError, Box, ObjectAnnotation
from models.data.formats.voc import read_voc, write_voc
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


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(tmp_path_factory.mktemp("voc") / "a.png")


def annotate(file: Path, *objects: ObjectAnnotation) -> AnnotatedImage:
    return AnnotatedImage(file, WIDTH, HEIGHT, objects)


@given(st.lists(st.one_of(float_boxes(), pixel_boxes()), max_size=4))
@settings(deadline=None)
def test_gives_back_the_boxes_that_were_written(image: Path, boxes: list[Box]) -> None:
    written = annotate(image, *(ObjectAnnotation("tea pot", box) for box in boxes))
    write_voc(image.parent / "set", {"": [written]}, CLASSES)
    dataset = read_voc(image.parent / "set")
    assert dataset.classes == CLASSES
    assert_equal_objects(dataset.splits[""][0], written)


@given(masks(), masks(), pixel_boxes())
@settings(deadline=None, max_examples=30)
def test_gives_back_masks_that_do_not_overlap(image: Path, a: object, b: object, box: Box) -> None:
    first, second = np.asarray(a, np.bool_), np.asarray(b, np.bool_)
    items = [ObjectAnnotation("mug", None, first), ObjectAnnotation("tea pot", box)]
    if (second & ~first).any():
        items.append(ObjectAnnotation("mug big", box, second & ~first))
    folder = image.parent / "masks"
    write_voc(folder, {"": [annotate(image, *items)]}, CLASSES, masks=True)
    assert_equal_objects(read_voc(folder).splits[""][0], annotate(image, *items))


def test_integer_corners_are_written_from_one_and_inclusive(tmp_path: Path) -> None:
    item = ObjectAnnotation("mug", (0.0, 2.0, 5.0, 1.0))
    write_voc(tmp_path / "set", {"": [annotate(write_image(tmp_path / "a.png"), item)]}, CLASSES)
    root = ElementTree.parse(tmp_path / "set" / "Annotations" / "a.xml").getroot()
    assert [e.text for e in root.findall("object/bndbox/*")] == ["1", "3", "5", "3"]


def test_torchvision_reads_what_is_written(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[2:5, 3:9] = True
    splits = {
        "train": [
            annotate(write_image(tmp_path / "a.png"), ObjectAnnotation("tea pot", None, mask)),
            annotate(write_image(tmp_path / "b.png")),
        ],
        "val": [annotate(write_image(tmp_path / "c.png"), ObjectAnnotation("mug", (0, 0, 2, 2)))],
    }
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    write_voc(folder, splits, CLASSES, masks=True)
    # torchvision appends .jpg to the names of the lists.
    for png in (folder / "JPEGImages").iterdir():
        png.rename(png.with_suffix(".jpg"))
    dataset = VOCDetection(str(tmp_path), "2012", "train")
    assert len(dataset) == 2
    objects = dataset[0][1]["annotation"]["object"]
    assert [o["name"] for o in objects] == ["tea pot"]
    assert objects[0]["bndbox"] == {"xmin": "4", "ymin": "3", "xmax": "9", "ymax": "5"}
    classes = np.asarray(VOCSegmentation(str(tmp_path), "2012", "train")[0][1])
    np.testing.assert_array_equal(classes, mask * 3)
    dataset = read_voc(folder)
    assert {split: len(images) for split, images in dataset.splits.items()} == {
        "train": 2,
        "val": 1,
    }


def test_reads_folders_of_splits_and_sorts_the_classes(tmp_path: Path) -> None:
    for split, label in (("train", "mug"), ("valid", "bowl")):
        write_xml(tmp_path / split, name=label)
    dataset = read_voc(tmp_path)
    assert list(dataset.splits) == ["train", "val"]
    assert dataset.classes == ["bowl", "mug"]


def test_reads_a_corner_of_zero_as_one(tmp_path: Path) -> None:
    write_xml(tmp_path, box=(0, 0, 40, 30))
    assert read_voc(tmp_path).splits[""][0].objects[0].box == (0, 0, 40, 30)


@pytest.mark.parametrize("name", ["bccd", "airplanes"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_reads_real_sets(shared_photos: Path, name: str, split: str) -> None:
    folder = shared_photos / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/data/{name}")
    images = read_voc(folder).splits[split]
    files = sorted((folder / split / "Annotations").glob("*.xml"))
    assert len(images) == len(files)
    for image, file in zip(images, files, strict=True):
        objects = ElementTree.parse(file).getroot().findall("object")
        assert [o.findtext("name") for o in objects] == [o.label for o in image.objects]
        for element, item in zip(objects, image.objects, strict=True):
            corners = [max(1.0, float(e.text or "")) for e in element.findall("bndbox/*")]
            assert item.box is not None
            x, y, width, height = item.box
            assert [x + 1, y + 1, x + width, y + height] == corners


def write_xml(folder: Path, *, name: str = "mug", box: tuple[float, ...] = (1, 1, 9, 9)) -> Path:
    """A VOC folder with one image of 40 x 30 px and one object."""
    write_image(folder / "JPEGImages" / f"{folder.name}.png", 40, 30)
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    file = folder / "Annotations" / f"{folder.name}.xml"
    file.parent.mkdir()
    file.write_text(
        "<annotation><size><width>40</width><height>30</height></size>"
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{corner}>{value}</{corner}>" for corner, value in corners)
        + "</bndbox></object></annotation>"
    )
    return file


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<xmax>9<", "<xmax>42<", "object 1: the box .* outside the 40x30 px image"),
        ("<xmax>9<", "<xmax>0<", "object 1: the box .* above 0"),
        ("<xmax>9<", "<xmax>nine<", "bndbox/xmax must be a number, not 'nine'"),
        ("<xmax>9</xmax>", "", "bndbox/xmax must be a number, not ''"),
        ("<name>mug</name>", "", "object 1: has no name"),
        ("<width>40<", "<width>41<", "the size 41x30 px is not that of"),
        ("</annotation>", "", "is no valid XML"),
        ("<annotation>", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>", "document type"),
        ("bndbox", "robndbox", "neither box nor mask"),
    ],
)
def test_refuses_a_wrong_file(tmp_path: Path, old: str, new: str, reason: str) -> None:
    file = write_xml(tmp_path / "set")
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(AnnotationError, match=reason) as raised:
        read_voc(tmp_path / "set")
    assert str(raised.value).startswith(str(file))


def test_refuses_missing_images_and_missing_annotations(tmp_path: Path) -> None:
    file = write_xml(tmp_path / "set")
    (tmp_path / "set" / "JPEGImages" / "set.png").unlink()
    with pytest.raises(AnnotationError, match=r"set\.jpg is missing"):
        read_voc(tmp_path / "set")
    write_image(tmp_path / "set" / "JPEGImages" / "other.png")
    with pytest.raises(AnnotationError, match=r"has no other\.xml"):
        read_voc(tmp_path / "set")
    lists = file.parent.parent / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("set\nabsent\n")
    (tmp_path / "set" / "JPEGImages" / "other.png").unlink()
    with pytest.raises(AnnotationError, match=r"train\.txt: 'absent' has no file"):
        read_voc(tmp_path / "set")


def test_refuses_to_write_what_voc_can_not_hold(tmp_path: Path) -> None:
    mask = np.ones((HEIGHT, WIDTH), np.bool_)
    file = write_image(tmp_path / "a.png")
    alone = annotate(file, ObjectAnnotation("mug", None, mask))
    with pytest.raises(AnnotationError, match="object 1: has no box; write masks too"):
        write_voc(tmp_path / "1", {"": [alone]}, CLASSES)
    twice = annotate(file, *(ObjectAnnotation("mug", None, mask),) * 2)
    with pytest.raises(AnnotationError, match="object 2: its mask overlaps another"):
        write_voc(tmp_path / "2", {"": [twice]}, CLASSES, masks=True)
    with pytest.raises(AnnotationError, match="class name"):
        write_voc(tmp_path / "3", {"": []}, ["a\nb"])
