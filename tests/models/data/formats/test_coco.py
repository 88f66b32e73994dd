"""COCO files are read and written exactly, and malformed ones are refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from models.data.formats.annotated import AnnotatedImage, AnnotationError, ObjectAnnotation
from models.data.formats.coco import read_coco, write_coco
from tests.models.data.formats.cases import (
    CLASSES,
    HEIGHT,
    WIDTH,
    assert_equal_objects,
    expected_box,
    objects,
    write_image,
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(tmp_path_factory.mktemp("coco") / "images" / "a.png")


@given(objects())
@settings(deadline=None)
def test_gives_back_what_was_written(image: Path, items: tuple[ObjectAnnotation, ...]) -> None:
    written = AnnotatedImage(image, WIDTH, HEIGHT, items)
    file = image.parent.parent / "all.json"
    write_coco(file, [written], CLASSES)
    dataset = read_coco(file)
    assert dataset.classes == CLASSES
    assert list(dataset.splits) == [""]
    assert_equal_objects(dataset.splits[""][0], written)


@given(objects())
@settings(deadline=None, max_examples=30)
def test_pycocotools_reads_the_same(image: Path, items: tuple[ObjectAnnotation, ...]) -> None:
    file = image.parent.parent / "all.json"
    write_coco(file, [AnnotatedImage(image, WIDTH, HEIGHT, items)], CLASSES)
    coco = COCO(str(file))
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [coco.cats[a["category_id"]]["name"] for a in annotations] == [o.label for o in items]
    assert [tuple(a["bbox"]) for a in annotations] == [expected_box(o) for o in items]
    for annotation, item in zip(annotations, items, strict=True):
        if item.mask is not None:
            np.testing.assert_array_equal(coco.annToMask(annotation), item.mask)
            assert annotation["area"] == item.mask.sum()


def test_torchvision_reads_what_is_written(tmp_path: Path) -> None:
    images = [
        AnnotatedImage(write_image(tmp_path / "a.png"), WIDTH, HEIGHT),
        AnnotatedImage(
            write_image(tmp_path / "b.png"),
            WIDTH,
            HEIGHT,
            (ObjectAnnotation("mug", (1.0, 2.0, 3.0, 4.5)),),
        ),
    ]
    write_coco(tmp_path / "set.json", images, CLASSES, extra=[{"label": "x"}, {"label": "mug"}])
    dataset = CocoDetection(str(tmp_path), str(tmp_path / "set.json"))
    assert [len(target) for _, target in dataset] == [0, 1]
    assert dataset[1][1][0]["bbox"] == [1.0, 2.0, 3.0, 4.5]
    assert dataset.coco.loadImgs([1])[0]["label"] == "x"


def test_reads_the_polygons_that_pycocotools_reads(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 40, 30)
    polygons = [[1.5, 2.2, 20.1, 3.0, 12.0, 25.7], [25, 25, 35, 25, 35, 28.5]]
    file = write_document(tmp_path, segmentation=polygons, bbox=[1, 2, 34, 27])
    item = read_coco(file).splits[""][0].objects[0]
    coco = COCO(str(file))
    assert item.mask is not None
    np.testing.assert_array_equal(item.mask, coco.annToMask(coco.anns[1]))


def test_takes_the_box_from_the_mask(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 40, 30)
    file = write_document(tmp_path, segmentation=[[2, 3, 12, 3, 12, 9, 2, 9]])
    assert read_coco(file).splits[""][0].objects[0].box == (2, 3, 10, 6)


def test_leaves_crowd_regions_out_and_says_so(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 40, 30)
    runs = {"size": [30, 40], "counts": [0, 1200]}
    file = write_document(tmp_path, segmentation=runs, bbox=[0, 0, 40, 30], iscrowd=1)
    dataset = read_coco(file)
    assert dataset.splits[""][0].objects == ()
    assert dataset.notes == ("set.json: 1 crowd regions left out",)


def test_clips_a_box_by_less_than_a_pixel(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 40, 30)
    file = write_document(tmp_path, bbox=[-0.5, 1, 41, 2])
    assert read_coco(file).splits[""][0].objects[0].box == (0, 1, 40, 2)


def test_reads_the_official_layout(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for split, name in (("train2017", "a"), ("val2017", "b")):
        image = AnnotatedImage(write_image(tmp_path / split / f"{name}.png"), WIDTH, HEIGHT)
        file = tmp_path / "annotations" / f"instances_{split}.json"
        write_coco(file, [image], CLASSES, root=tmp_path / split)
        (tmp_path / "annotations" / f"captions_{split}.json").write_text(
            '{"images": [], "annotations": []}'
        )
    dataset = read_coco(tmp_path)
    assert {split: [i.file.name for i in images] for split, images in dataset.splits.items()} == {
        "train": ["a.png"],
        "val": ["b.png"],
    }
    assert dataset.classes == CLASSES


def test_reads_a_folder_per_split(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("valid", "b")):
        image = AnnotatedImage(write_image(tmp_path / split / f"{name}.png"), WIDTH, HEIGHT)
        write_coco(tmp_path / split / "_annotations.coco.json", [image], CLASSES)
    assert list(read_coco(tmp_path).splits) == ["train", "val"]


def write_document(folder: Path, **annotation: Any) -> Path:
    """A COCO file with one image of 40 x 30 px and one annotation."""
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3} | annotation],
        "categories": [{"id": 3, "name": "mug"}, {"id": 9, "name": "unused"}],
    }
    file = folder / "set.json"
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"bbox": [30, 5, 12, 5]}, "outside the 40x30 px image"),
        ({"bbox": [3, 5, 0, 5]}, "width and height above 0"),
        ({"bbox": [3, 5, -2, 5]}, "width and height above 0"),
        ({"bbox": [3, 5, 2]}, "four numbers"),
        ({"bbox": [3, 5, 2, "x"]}, "four numbers"),
        ({"bbox": [3, 5, 2, float("nan")]}, "four numbers"),
        ({"bbox": [3, 5, 2, 2], "category_id": 4}, "category_id 4 is unknown"),
        ({"bbox": [3, 5, 2, 2], "image_id": 8}, "image_id 8 is unknown"),
        ({}, "neither box nor mask"),
        ({"segmentation": [[1, 2, 3, 4]]}, "at least 3 points"),
        ({"segmentation": [[1, 2, 3, 4, 5, 90]]}, "polygon must lie in the"),
        ({"segmentation": [["a"] * 6]}, "list of numbers"),
        ({"segmentation": {"size": [40, 30], "counts": [1200]}}, r"need the size \[30, 40\]"),
        ({"segmentation": {"size": [30, 40], "counts": [3, 4]}}, "must cover 1200 px, and cover 7"),
        ({"segmentation": {"size": [30, 40], "counts": "\x01"}}, "wrong character"),
        ({"segmentation": {"size": [30, 40], "counts": [1200]}}, "mask has no pixel"),
    ],
)
def test_refuses_a_wrong_annotation_with_file_and_number(
    tmp_path: Path, annotation: dict[str, Any], reason: str
) -> None:
    write_image(tmp_path / "a.png", 40, 30)
    file = write_document(tmp_path, **annotation)
    with pytest.raises(AnnotationError, match=reason) as raised:
        read_coco(file)
    assert str(raised.value).startswith(f"{file}: annotation 1: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"images": [{"id": 1, "file_name": "b.png", "width": 4, "height": 3}]},
            "b.png is missing",
        ),
        (
            {"images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 3}]},
            "not that of a.png",
        ),
        ({"images": [{"id": 1, "file_name": "../a.png", "width": 4, "height": 3}]}, "leads out"),
        ({"images": [{"id": 1, "file_name": "a.png"}]}, "width and height must be"),
        ({"images": [{"file_name": "a.png"}]}, "needs an 'id'"),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}] * 2}, "twice"),
        ({"categories": [{"id": 3, "name": "a"}, {"id": 4, "name": "a"}]}, "same name"),
        ({"annotations": {}}, "must be a list"),
    ],
)
def test_refuses_a_wrong_file(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    write_image(tmp_path / "a.png", 40, 30)
    file = write_document(tmp_path, bbox=[1, 2, 3, 4])
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(AnnotationError, match=reason) as raised:
        read_coco(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\xff"])
def test_refuses_what_is_no_json_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "set.json").write_text(text, "latin-1")
    with pytest.raises(AnnotationError, match=r"set\.json"):
        read_coco(tmp_path / "set.json")


def test_refuses_to_write_an_object_without_box_and_mask(tmp_path: Path) -> None:
    image = AnnotatedImage(
        write_image(tmp_path / "a.png"), WIDTH, HEIGHT, (ObjectAnnotation("mug"),)
    )
    with pytest.raises(AnnotationError, match="neither box nor mask"):
        write_coco(tmp_path / "set.json", [image], CLASSES)
    assert not (tmp_path / "set.json").exists()
