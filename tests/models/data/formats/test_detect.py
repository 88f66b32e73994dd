"""The layout of a photo folder is detected, and real sets survive a round trip in every format."""

import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.formats.annotated import (
    AnnotatedImage,
    AnnotationError,
    ObjectAnnotation,
    check_splits,
    fit_box,
    flat_names,
    read_size,
)
from models.data.formats.coco import read_coco, write_coco
from models.data.formats.detect import READERS, detect_format
from models.data.formats.voc import read_voc, write_voc
from models.data.formats.yolo import write_yolo
from tests.models.data.formats.cases import (
    CLASSES,
    HEIGHT,
    WIDTH,
    assert_equal_objects,
    write_image,
)


def write(folder: Path, form: str) -> None:
    """A dataset of one image in a format."""
    file = write_image(folder.parent / "photo.png")
    splits = {"train": [AnnotatedImage(file, WIDTH, HEIGHT)]}
    if form == "coco":
        copy = write_image(folder / "photo.png")
        write_coco(folder / "train.json", [AnnotatedImage(copy, WIDTH, HEIGHT)], CLASSES)
    elif form == "voc":
        write_voc(folder, splits, CLASSES)
    elif form == "yolo":
        write_yolo(folder, splits, CLASSES)
    else:
        write_image(folder / "mug" / "a.png")


@pytest.mark.parametrize("form", ["folders", "coco", "voc", "yolo"])
def test_detects_the_format(tmp_path: Path, form: str) -> None:
    write(tmp_path / "set", form)
    assert detect_format(tmp_path / "set") == form
    if form != "folders":
        assert len(READERS[form](tmp_path / "set").splits["train"]) == 1


@pytest.mark.parametrize("form", ["coco", "voc", "voc-masks", "yolo"])
@pytest.mark.parametrize("changed", ["images", "annotations"])
def test_archives_may_change_how_accents_are_encoded(
    tmp_path: Path, form: str, changed: str
) -> None:
    folder, name = tmp_path / "set", "caf\u00e9.png"
    mask = np.ones((HEIGHT, WIDTH), np.bool_)
    item = ObjectAnnotation("mug", None, mask if form == "voc-masks" else None)
    item.box = (1.0, 2.0, 5.0, 6.0)
    where = folder if form == "coco" else tmp_path
    image = AnnotatedImage(write_image(where / name), WIDTH, HEIGHT, (item,))
    if form == "coco":
        write_coco(folder / "train.json", [image], CLASSES)
    elif form == "yolo":
        write_yolo(folder, {"train": [image]}, CLASSES)
    else:
        write_voc(folder, {"train": [image]}, CLASSES, masks=form == "voc-masks")
    for file in sorted(folder.rglob("caf\u00e9.*")):
        is_image = file.suffix == ".png" and "Segmentation" not in str(file)
        if is_image == (changed == "images"):
            file.rename(file.with_name(unicodedata.normalize("NFD", file.name)))
    found = READERS[form.partition("-")[0]](folder)
    (read,) = found.splits["train"]
    assert [item.label for item in read.objects] == ["mug"]
    assert (read.objects[0].mask is not None) == (form == "voc-masks")


def test_a_json_file_of_another_kind_is_no_coco(tmp_path: Path) -> None:
    write(tmp_path / "set", "folders")
    (tmp_path / "set" / "notes.json").write_text('{"images": 3}')
    assert detect_format(tmp_path / "set") == "folders"


def test_refuses_two_formats_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "set", "voc")
    write(tmp_path / "set", "yolo")
    with pytest.raises(AnnotationError, match="annotations of voc and yolo"):
        detect_format(tmp_path / "set")


def test_refuses_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="does not exist"):
        detect_format(tmp_path / "absent")


@pytest.mark.parametrize("name", ["bccd", "airplanes"])
def test_real_boxes_survive_a_round_trip(shared_photos: Path, tmp_path: Path, name: str) -> None:
    if not (shared_photos / name).is_dir():
        pytest.skip(f"needs ../shared/data/{name}")
    dataset = read_voc(shared_photos / name)
    splits = {split: images[:10] for split, images in dataset.splits.items()}
    write_voc(tmp_path / "voc", splits, dataset.classes)
    write_yolo(tmp_path / "yolo", splits, dataset.classes)
    for split, images in splits.items():
        root = shared_photos / name / split / "JPEGImages"
        write_coco(tmp_path / "coco" / f"{split}.json", images, dataset.classes, root=root)
        for image in images:
            copy = tmp_path / "coco" / split / image.file.name
            copy.parent.mkdir(exist_ok=True)
            copy.symlink_to(image.file)
    for form in ("voc", "yolo", "coco"):
        read = READERS[form](tmp_path / form)
        assert detect_format(tmp_path / form) == form
        assert read.classes == dataset.classes
        for split, images in splits.items():
            for copy, image in zip(read.splits[split], images, strict=True):
                assert_equal_objects(copy, image)


def test_real_masks_survive_a_round_trip(shared_photos: Path, tmp_path: Path) -> None:
    folder = shared_photos / "balloons" / "train"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/balloons")
    images = []
    for file in sorted((folder / "images").glob("*.jpg"))[:8]:
        numbers = np.asarray(Image.open(folder / "instances" / f"{file.stem}.png"))
        masks = [numbers == number for number in np.unique(numbers) if number]
        items = tuple(ObjectAnnotation("balloon", None, mask) for mask in masks)
        images.append(AnnotatedImage(file, numbers.shape[1], numbers.shape[0], items))
    write_coco(tmp_path / "coco.json", images, ["balloon"], root=folder)
    write_voc(tmp_path / "voc", {"": images}, ["balloon"], masks=True)
    for read in (
        READERS["voc"](tmp_path / "voc").splits[""],
        read_coco(tmp_path / "coco.json", folder).splits[""],
    ):
        for copy, image in zip(read, images, strict=True):
            assert_equal_objects(copy, image)


def test_a_sideways_photo_has_its_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert read_size(tmp_path / "a.jpg", (30, 40), "x") == (30, 40)
    with pytest.raises(AnnotationError, match="save the image upright"):
        read_size(tmp_path / "a.jpg", (40, 30), "x")


def test_names_stay_unique_in_one_folder() -> None:
    files = [Path("mug/1.jpg"), Path("pot/1.jpg"), Path("pot/2.jpg")]
    assert flat_names(files) == ["mug_1.jpg", "pot_1.jpg", "2.jpg"]
    assert flat_names([Path("/a/mug/1.jpg"), Path("/b/mug/1.jpg")]) == [
        "a_mug_1.jpg",
        "b_mug_1.jpg",
    ]
    names = flat_names([Path("mug/1.jpg"), Path("mug/1.png"), Path("mug_1-2.jpg")])
    assert names == ["mug_1.jpg", "mug_1-2.png", "mug_1-2-2.jpg"]
    joined = ["p_q/r.jpg", "p/q_r.jpg", "z/r.jpg", "z/q_r.jpg", "E\u0301.jpg", "\u00e9.jpg"]
    assert len({name.casefold() for name in flat_names([Path(file) for file in joined])}) == 6


def test_boxes_are_clipped_by_less_than_a_pixel() -> None:
    assert fit_box((-0.25, 0, 10.5, 5), 10, 5, "x") == (0, 0, 10, 5)
    with pytest.raises(AnnotationError, match="outside"):
        fit_box((-1, 0, 5, 5), 10, 5, "x")


def test_refuses_an_image_in_two_splits(tmp_path: Path) -> None:
    image = AnnotatedImage(tmp_path / "a.png", 4, 4)
    with pytest.raises(AnnotationError, match="is in train and in val"):
        check_splits({"train": [image], "val": [image]}, "x")
    with pytest.raises(AnnotationError, match="listed 2 times"):
        check_splits({"train": [image, image]}, "x")


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_an_image_that_can_not_be_read_does_not_end_the_reading(tmp_path: Path, form: str) -> None:
    write(tmp_path / "set", form)
    (image,) = (tmp_path / "set").rglob("*.png")
    image.write_bytes(b"no image")
    (read,) = [i for listed in READERS[form](tmp_path / "set").splits.values() for i in listed]
    assert read.problem == "the content is text, not an image"
    assert read.objects == ()


@pytest.mark.parametrize("form", ["coco", "voc"])
def test_readers_keep_masks_as_runs_until_they_are_used(tmp_path: Path, form: str) -> None:
    file = write_image(tmp_path / "set" / "JPEGImages" / "a.png", 640, 480)
    mask = np.zeros((480, 640), np.bool_)
    mask[100:200, 50:500] = True
    images = [AnnotatedImage(file, 640, 480, (ObjectAnnotation("mug", None, mask),))]
    if form == "coco":
        write_coco(tmp_path / "set" / "a.json", images, CLASSES, root=file.parent)
    else:
        write_voc(tmp_path / "voc", {"": images}, CLASSES, masks=True)
        (tmp_path / "voc").rename(tmp_path / "set" / "voc")
    folder = tmp_path / "set" / ("voc" if form == "voc" else "")
    ((read,),) = (listed for listed in READERS[form](folder).splits.values())
    assert len(pickle.dumps(read.objects)) < mask.size // 100
    np.testing.assert_array_equal(read.objects[0].mask, mask)
