"""Whole photos with objects of several classes or none: read, counted, split and named."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from models.data.formats.annotated import AnnotatedImage, ObjectAnnotation
from models.data.records import NO_OBJECT_LABEL, SourceImage, Sources
from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.ingest.find_sources import list_classes, list_labels
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.store.store import open_store
from tests.tasks.ingest.test_annotated import FORMATS, draw_images, write_set

SCENES = Ingest(objects="scene")
# The disc is in five photos, the block in four, and two photos show nothing.
KINDS = [["disc"], ["disc", "block"], ["block"], ["disc"], ["disc", "block", "block"], []]
KINDS += [["disc", "block"], []]


def boxed(image: AnnotatedImage) -> AnnotatedImage:
    """The image with boxes alone."""
    objects = tuple(ObjectAnnotation(item.label, item.box) for item in image.objects)
    return replace(image, objects=objects)


def read(folder: Path, photos: Path) -> Sources:
    run = RunContext(open_store(folder / "store"), "test")
    splits = SplitParameters(compare_pictures=False)
    return ingest_photos(run, photos, SCENES, splits)


@pytest.mark.parametrize("form", FORMATS)
def test_photos_keep_all_objects_and_those_without_any_are_kept(tmp_path: Path, form: str) -> None:
    drawn = [boxed(image) for image in draw_images(tmp_path / "drawn", KINDS)]
    write_set(tmp_path / "photos", form, {"": drawn})
    sources = read(tmp_path, tmp_path / "photos")
    assert sources.refused == ()
    assert sources.classes == ["block", "disc"]
    assert "photos without an annotated object, used as such: 2" in sources.notes
    by_stem = {source.name.partition("/")[2]: source for source in sources.images}
    for image in drawn:
        source = by_stem[image.file.stem]
        boxes = [(note.label, note.box) for note in source.annotations if note.box]
        expected = [(item.label, pytest.approx(item.box)) for item in image.objects]
        assert boxes == expected
        assert source.label == source.name.partition("/")[0]
    # The block is in fewer photos, so that photos of both are counted as blocks.
    assert Counter((source.label, source.counted_as) for source in sources.images) == {
        ("disc", ""): 2,
        ("block", ""): 1,
        ("block", "block"): 3,
        (NO_OBJECT_LABEL, ""): 2,
    }
    labels = list_labels(tmp_path / "photos", "auto", "scene")
    assert Counter(label for _, label in labels) == {"disc": 2, "block": 4, NO_OBJECT_LABEL: 2}
    assert list_classes(tmp_path / "photos", "auto") == {"block", "disc"}


def test_a_class_in_few_photos_stays_and_train_gets_the_first_of_them(tmp_path: Path) -> None:
    kinds = [["block"]] * 9 + [["disc", "block"]]
    drawn = [boxed(image) for image in draw_images(tmp_path / "drawn", kinds)]
    write_set(tmp_path / "photos", "voc", {"": drawn})
    sources = read(tmp_path, tmp_path / "photos")
    assert len(sources.images) == 10
    assert sources.left_out == {}
    (rare,) = (source for source in sources.images if source.shows("disc"))
    assert rare.split == "train"
    assert {source.split for source in sources.images} == {"train", "val", "test"}
    assert "no test photo of 'disc'" in sources.notes
    assert sources.warnings == ()


def test_a_class_that_train_photos_lack_is_kept_and_said(tmp_path: Path) -> None:
    images = [
        boxed(i) for i in draw_images(tmp_path / "drawn", [["block"]] * 4 + [["disc", "block"]])
    ]
    splits = {"train": images[:2], "val": images[2:3], "test": images[3:]}
    write_set(tmp_path / "photos", "yolo", splits)
    sources = read(tmp_path, tmp_path / "photos")
    assert sources.classes == ["block", "disc"]
    (warning,) = sources.warnings
    assert warning == "no train photo shows the class 'disc'; only generated images can teach it"


def test_scenes_of_one_place_stay_together_whatever_they_show(tmp_path: Path) -> None:
    images = [boxed(image) for image in draw_images(tmp_path / "drawn", [["block"]] * 8)]
    other = replace(images[0], objects=(ObjectAnnotation("disc", (5.0, 5.0, 20.0, 20.0)),))
    pixels = images[0].file.read_bytes()
    copy = images[0].file.with_name("copy.png")
    copy.write_bytes(pixels + b"\0")  # the same picture in another file
    write_set(tmp_path / "photos", "voc", {"": [*images, replace(other, file=copy)]})
    sources = read(tmp_path, tmp_path / "photos")
    assert sources.refused == ()
    first, second = (one(sources, stem) for stem in ("photo0", "copy"))
    assert first.family == second.family
    assert first.split == second.split


def one(sources: Sources, stem: str) -> SourceImage:
    return next(source for source in sources.images if source.name.endswith(f"/{stem}"))


def test_the_name_of_photos_without_an_object_is_no_class(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "drawn", [["block"]] * 4)
    write_set(tmp_path / "photos", "coco", {"": [boxed(image) for image in images]})
    file = tmp_path / "photos" / "instances.json"
    file.write_text(file.read_text().replace('"name": "block"', '"name": "no object"'))
    with pytest.raises(ValueError, match="the class 'no object' has the name of photos without"):
        read(tmp_path, tmp_path / "photos")
