"""Ingest of COCO, VOC and YOLO sets: crops and whole photos, splits, notes, refusals, exactness."""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flows.config.recipe import Recipe
from flows.planning import make_plan
from models.data.formats.annotated import AnnotatedImage, Box, ObjectAnnotation
from models.data.formats.coco import read_coco, write_coco
from models.data.formats.detect import READERS
from models.data.formats.voc import write_voc
from models.data.formats.yolo import write_yolo
from models.data.pixels import Bools, Pixels, encode_png
from models.data.records import Sample, SourceImage, Sources
from models.data.splits.splitting import SplitParameters
from tasks.assemble.annotate import Annotate, annotate
from tasks.assemble.resize import Resize, resize
from tasks.assemble.samples import real_sample
from tasks.assemble.write_datasets import write_datasets
from tasks.engine.run_context import RunContext, StageCount
from tasks.export.formats import export_dataset
from tasks.ingest import photos as listing
from tasks.ingest.find_sources import FoundSources, Layout, list_labels
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest, ingest
from tasks.store.store import open_store

CLASSES = ["disc", "block"]
FORMATS = ["coco", "voc", "yolo"]
WIDTH, HEIGHT = 150, 110
WHOLE = Ingest(objects="image")


def draw_photo(seed: int, labels: list[str]) -> tuple[Pixels, tuple[ObjectAnnotation, ...]]:
    """A photo of noise with an object of each label next to each other, with box and mask."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    objects = []
    for number, label in enumerate(labels):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        x, y = 5 + 45 * number + int(rng.integers(0, 5)), int(rng.integers(5, 60))
        if label == "disc":
            cv2.circle(mask, (x + 18, y + 18), 18, 1, -1)
        else:
            mask[y : y + 34, x : x + 36] = 1
        area = mask.astype(bool)
        pixels[area] = (rng.integers(0, 255, 3) + rng.integers(-9, 9, (area.sum(), 3))).clip(0, 255)
        left, top, width, height = cv2.boundingRect(mask)
        box = (float(left), float(top), float(width), float(height))
        objects.append(ObjectAnnotation(label, box, area))
    return np.asarray(pixels, np.uint8), tuple(objects)


def draw_images(folder: Path, photos: list[list[str]], first: int = 0) -> list[AnnotatedImage]:
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number, labels in enumerate(photos, first):
        pixels, objects = draw_photo(number, labels)
        file = folder / f"photo{number}.png"
        file.write_bytes(encode_png(pixels))
        images.append(AnnotatedImage(file, WIDTH, HEIGHT, objects))
    return images


def write_set(
    folder: Path, form: str, splits: dict[str, list[AnnotatedImage]]
) -> dict[str, list[AnnotatedImage]]:
    if form == "voc":
        write_voc(folder, splits, CLASSES, masks=True)
    elif form == "yolo":
        write_yolo(folder, splits, CLASSES)
    else:
        for split, images in splits.items():
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            copies = [
                replace(image, file=folder / "images" / split / image.file.name) for image in images
            ]
            for image, copy in zip(images, copies, strict=True):
                copy.file.write_bytes(image.file.read_bytes())
            name = f"instances_{split}.json" if split else "instances.json"
            write_coco(folder / name, copies, CLASSES)
    return splits


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


def mixed_set(tmp_path: Path, form: str) -> dict[str, list[AnnotatedImage]]:
    """Twelve photos of a disc and a block each, without given splits."""
    images = draw_images(tmp_path / "drawn", [["disc", "block"]] * 12)
    return write_set(tmp_path / "photos", form, {"": images})


def uniform_set(tmp_path: Path, form: str) -> dict[str, list[AnnotatedImage]]:
    """Photos of two objects of one class each, with splits."""
    kinds = [["disc", "disc"], ["block", "block"]]
    images = draw_images(tmp_path / "drawn", kinds * 4)
    splits = {"train": images[:4], "val": images[4:6], "test": images[6:]}
    return write_set(tmp_path / "photos", form, splits)


def content(run: RunContext, source: SourceImage, number: int = 0) -> tuple[Box, Bools]:
    note = source.annotations[number]
    assert note.box is not None
    assert note.mask is not None
    return note.box, run.load(note.mask) == 255


def test_splits_of_crops_do_not_follow_from_how_the_store_compresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed_set(tmp_path, "coco")
    found = []
    for level in (1, 9):
        monkeypatch.setattr("models.data.png._LEVEL", level)
        run = RunContext(open_store(tmp_path / f"store-{level}"), "test")
        sources = ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
        found.append({source.name: (source.split, source.draw_digest) for source in sources.images})
    assert found[0] == found[1]


@pytest.mark.parametrize("form", FORMATS)
def test_crops_every_object_with_its_box_and_mask(
    run: RunContext, tmp_path: Path, form: str
) -> None:
    drawn = {image.file.stem: image for image in mixed_set(tmp_path, form)[""]}
    found = ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    assert found.refused == ()
    assert Counter(source.label for source in found.images) == {"disc": 12, "block": 12}
    for source in found.images:
        label, _, stem = source.name.partition("/")
        photo, _, number = stem.rpartition("_")
        item = drawn[photo].objects[int(number) - 1]
        assert item.label == label == source.label
        assert source.image.stage == "crop"
        assert source.image.variant == {}
        box, mask = content(run, source)
        pixels = run.load(source.image)
        assert mask.shape == pixels.shape[:2]
        assert item.box is not None
        assert item.mask is not None
        x, y = (int(side) for side in item.box[:2])
        left, top = x - int(box[0]), y - int(box[1])
        height, width = mask.shape
        assert box[2:] == item.box[2:]
        np.testing.assert_array_equal(mask, item.mask[top : top + height, left : left + width])
        original, _ = draw_photo(int(photo.removeprefix("photo")), ["disc", "block"])
        np.testing.assert_array_equal(pixels, original[top : top + height, left : left + width])
        assert box[0] == min(x, np.ceil(0.1 * item.box[2]))


@pytest.mark.parametrize("form", FORMATS)
def test_keeps_all_crops_of_a_photo_in_one_split(
    run: RunContext, tmp_path: Path, form: str
) -> None:
    mixed_set(tmp_path, form)
    found = ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    splits: dict[str, set[str]] = {}
    for source in found.images:
        splits.setdefault(source.file, set()).add(source.split)
    assert len(splits) == 12
    assert all(len(names) == 1 for names in splits.values())
    for split in ("train", "val", "test"):
        assert {source.label for source in found.of(split)} == set(CLASSES)


@pytest.mark.parametrize("form", FORMATS)
def test_keeps_the_given_splits(run: RunContext, tmp_path: Path, form: str) -> None:
    drawn = uniform_set(tmp_path, form)
    found = ingest_photos(run, tmp_path / "photos", WHOLE, SplitParameters())
    for split, images in drawn.items():
        stems = {source.name.partition("/")[2] for source in found.of(split)}
        assert stems == {image.file.stem for image in images}
    assert all(len(source.annotations) == 2 for source in found.images)


def test_continues_without_computing_anything_again(run: RunContext, tmp_path: Path) -> None:
    mixed_set(tmp_path, "coco")
    first = ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    rerun = RunContext(run.store, "rerun")
    assert ingest_photos(rerun, tmp_path / "photos", Ingest(), SplitParameters()) == first
    assert {"ingest", "crop", "object_mask"} <= set(rerun.counts)
    assert {count.computed for count in rerun.counts.values()} == {0}
    assert rerun.counts["crop"] == StageCount(cached=24)


def test_scales_boxes_and_masks_with_the_photo(run: RunContext, tmp_path: Path) -> None:
    uniform_set(tmp_path, "coco")
    small = Ingest(objects="image", max_side=75)
    found = ingest_photos(run, tmp_path / "photos", small, SplitParameters())
    whole = ingest_photos(run, tmp_path / "photos", WHOLE, SplitParameters())
    for half, full in zip(found.images, whole.images, strict=True):
        assert run.load(half.image).shape == (55, 75, 3)
        for number in range(2):
            box, mask = content(run, half, number)
            full_box, full_mask = content(run, full, number)
            assert np.allclose(np.array(box) * 2, full_box)
            assert mask.shape == (55, 75)
            assert abs(4 * mask.sum() - full_mask.sum()) < 0.15 * full_mask.sum()


def test_refuses_small_objects_by_name(run: RunContext, tmp_path: Path) -> None:
    mixed_set(tmp_path, "coco")
    larger = ingest_photos(run, tmp_path / "photos", Ingest(min_side=35), SplitParameters())
    assert larger.classes == ["disc"]
    assert larger.left_out["block"].startswith("has no photo that can be used: 12 too")
    document = read_coco(tmp_path / "photos" / "instances.json").splits[""]
    tiny = ObjectAnnotation("disc", (2.0, 90.0, 12.5, 9.0))
    images = [replace(document[0], objects=(*document[0].objects, tiny)), *document[1:]]
    write_coco(tmp_path / "photos" / "instances.json", images, CLASSES)
    found = ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    assert len(found.images) == 24
    assert found.refused == (
        (
            "images/photo0.png: object 3",
            "disc of 12x9 px is too small; each side needs 32 px (ingest.min_side)",
        ),
    )


@pytest.mark.parametrize("form", FORMATS)
def test_refuses_a_photo_without_a_header_by_name_and_takes_the_others(
    run: RunContext, tmp_path: Path, form: str
) -> None:
    mixed_set(tmp_path, form)
    # VOC keeps the masks of a photo in files of the same name.
    files = sorted((tmp_path / "photos").rglob("photo3.png"))
    file = next(path for path in files if "Segmentation" not in path.parent.name)
    file.write_bytes(b"no image")
    found = ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    assert len(found.images) == 22
    name = file.relative_to(tmp_path / "photos").as_posix()
    assert found.refused == ((name, "the content is text, not an image"),)


def test_whole_photos_of_several_classes_are_refused_with_the_fix(
    run: RunContext, tmp_path: Path
) -> None:
    kinds = [["disc"], ["block"]] * 4 + [["disc", "block"], []]
    write_set(tmp_path / "photos", "coco", {"": draw_images(tmp_path / "drawn", kinds)})
    found = ingest_photos(run, tmp_path / "photos", WHOLE, SplitParameters())
    assert len(found.images) == 8
    assert found.refused == (
        (
            "images/photo8.png",
            "its objects are of 2 classes (block, disc); set ingest.objects to scene or crop, or"
            " keep one class per photo",
        ),
    )
    assert "photos without an annotated object, not used: 1" in found.notes


def test_notes_crowd_regions_that_were_left_out(run: RunContext, tmp_path: Path) -> None:
    mixed_set(tmp_path, "coco")
    file = tmp_path / "photos" / "instances.json"
    file.write_text(file.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 1))
    found = ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    assert len(found.images) == 23
    assert "instances.json: 1 crowd regions left out" in found.notes


def test_refuses_a_class_name_that_is_no_file_name(run: RunContext, tmp_path: Path) -> None:
    mixed_set(tmp_path, "coco")
    file = tmp_path / "photos" / "instances.json"
    file.write_text(file.read_text().replace('"name": "disc"', '"name": "a/b"'))
    with pytest.raises(
        ValueError, match=r"'a/b' must not contain .* rename the class in the annot"
    ):
        ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    file.write_text(file.read_text().replace('"name": "a/b"', '"name": "Block"'))
    with pytest.raises(ValueError, match="'Block' and 'block' have the same name"):
        ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())


@pytest.mark.parametrize("form", FORMATS)
def test_plans_from_the_annotations_without_opening_photos(tmp_path: Path, form: str) -> None:
    mixed_set(tmp_path, form)
    for file in (tmp_path / "photos").rglob("photo*.png"):
        if "Segmentation" not in file.parent.name:
            file.write_bytes(b"no photo")
    labels = list_labels(tmp_path / "photos", "auto", "crop")
    assert Counter(labels) == {(None, "disc"): 12, (None, "block"): 12}
    assert make_plan(Recipe(), tmp_path / "photos", None).photos == {"block": 8, "disc": 8}
    with pytest.raises(ValueError, match="no photo has an object that can be used"):
        list_labels(tmp_path / "photos", "auto", "image")


def test_the_key_of_a_photo_depends_on_its_pixels_alone(run: RunContext, tmp_path: Path) -> None:
    uniform_set(tmp_path, "coco")
    whole = ingest_photos(run, tmp_path / "photos", WHOLE, SplitParameters())
    parameters = whole.images[0].image.parameters
    assert parameters == {
        **{"max_side": 2048, "min_side": 32, "max_pixels": 100_000_000},
        **{"value_range": "auto", "alpha": "mask"},
    }
    ingest_photos(run, tmp_path / "photos", Ingest(crop_margin=0.3), SplitParameters())
    assert run.counts[ingest.name] == StageCount(computed=8)


@contextlib.contextmanager
def count_opened(folder: Path) -> Iterator[Counter[str]]:
    """How often each file below a folder is opened meanwhile, by its name.

    Python has no way to remove an audit hook, so it stays and does nothing.
    """
    opened: Counter[str] = Counter()
    is_counting = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if is_counting and event == "open" and isinstance(arguments[0], str):
            path = Path(arguments[0])
            if path.is_relative_to(folder):
                opened[path.name] += 1

    sys.addaudithook(note)
    try:
        yield opened
    finally:
        is_counting = False


def test_decodes_the_bytes_that_were_hashed(
    run: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another program writes to must not give pixels under a wrong key."""
    mixed_set(tmp_path, "coco")
    listed = listing.find_sources
    with count_opened(tmp_path / "photos") as opened:

        def list_without_counting(folder: Path, layout: Layout) -> FoundSources:
            # It opens each photo for its size.
            found = listed(folder, layout)
            opened.clear()
            return found

        monkeypatch.setattr(listing, "find_sources", list_without_counting)
        ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    assert {opened[f"photo{number}.png"] for number in range(12)} == {1}


def test_refuses_a_photo_that_was_replaced_after_its_annotations_were_read(
    run: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed_set(tmp_path, "coco")
    (victim,) = (tmp_path / "photos").rglob("photo3.png")
    listed = listing.find_sources

    def replace_photo(folder: Path, layout: Layout) -> FoundSources:
        found = listed(folder, layout)
        victim.write_bytes(encode_png(np.zeros((40, 50, 3), np.uint8)))
        return found

    monkeypatch.setattr(listing, "find_sources", replace_photo)
    sources = ingest_photos(run, tmp_path / "photos", Ingest(), SplitParameters())
    (reason,) = (reason for file, reason in sources.refused if file.endswith("photo3.png"))
    assert reason.startswith("it changed during the run, from ")
    assert "to 50x40 px; run again when it is complete" in reason


def samples_of(run: RunContext, sources: Sources) -> list[Sample]:
    jpegs = resize(run, Resize(), [source.image for source in sources.images])
    masks = [note.mask for s in sources.images for note in s.annotations if note.mask is not None]
    resized = annotate(run, Annotate(), masks)
    by_mask = {mask.id: small for mask, small in zip(masks, resized, strict=True)}
    return [
        real_sample(source, jpeg, by_mask)
        for source, jpeg in zip(sources.images, jpegs, strict=True)
    ]


def export_and_read(
    run: RunContext, sources: Sources, folder: Path, form: str, reader: str
) -> dict[str, AnnotatedImage]:
    """The objects after samples, datasets, export and reading, by file stem."""
    samples = samples_of(run, sources)
    by_split = {
        split: [sample for sample in samples if sample.split == split]
        for split in ("train", "val", "test")
    }
    parts = {"train": by_split["train"], "val": by_split["val"]}
    write_datasets(run.store, folder / "out", {"real": parts}, by_split["test"], sources.classes)
    export_dataset(folder / "out", "real", folder / "export", form)
    dataset = READERS[reader](folder / "export")
    return {image.file.stem: image for images in dataset.splits.values() for image in images}


def find_export(exported: dict[str, AnnotatedImage], source: SourceImage) -> AnnotatedImage:
    label, _, stem = source.name.partition("/")
    return exported.get(stem) or exported[f"{label}_{stem}"]


@pytest.mark.parametrize(
    ("form", "export"), [("coco", "coco"), ("voc", "voc-masks"), ("yolo", "yolo-polygons")]
)
@pytest.mark.parametrize("parameters", [Ingest(), WHOLE], ids=["crop", "image"])
def test_round_trip_is_exact(
    run: RunContext, tmp_path: Path, form: str, export: str, parameters: Ingest
) -> None:
    uniform_set(tmp_path, form)
    sources = ingest_photos(run, tmp_path / "photos", parameters, SplitParameters())
    exported = export_and_read(run, sources, tmp_path, export, form)
    assert len(exported) == len(sources.images) == (16 if parameters.objects == "crop" else 8)
    for source in sources.images:
        image = find_export(exported, source)
        assert [item.label for item in image.objects] == [n.label for n in source.annotations]
        for number, item in enumerate(image.objects):
            box, mask = content(run, source, number)
            assert item.box == box
            assert item.mask is not None
            np.testing.assert_array_equal(item.mask, mask)


@pytest.mark.parametrize("name", ["airplanes", "bccd"])
def test_real_voc_sets_round_trip(
    run: RunContext, tmp_path: Path, shared_photos: Path, name: str
) -> None:
    parameters = Ingest(min_side=16)
    sources = ingest_photos(run, shared_photos / name, parameters, SplitParameters())
    exported = export_and_read(run, sources, tmp_path, "coco", "coco")
    assert len(exported) == len(sources.images) > 500
    given = {image.split for image in sources.images if image.file.startswith("test/")}
    assert given == {"test"}
    for source in sources.images:
        (item,) = find_export(exported, source).objects
        assert (item.label, item.box) == (source.label, source.annotations[0].box)


def test_real_masks_round_trip(run: RunContext, tmp_path: Path, shared_photos: Path) -> None:
    for split in ("train", "test"):
        images = []
        for file in sorted((shared_photos / "balloons" / split / "images").iterdir()):
            numbers = cv2.imread(
                str(file.parents[1] / "instances" / f"{file.stem}.png"), cv2.IMREAD_UNCHANGED
            )
            assert numbers is not None
            objects = tuple(
                ObjectAnnotation("balloon", None, numbers == number)
                for number in range(1, int(numbers.max()) + 1)
                if (numbers == number).any()
            )
            copy = tmp_path / "photos" / split / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
            images.append(AnnotatedImage(copy, *numbers.shape[::-1], objects))
        write_coco(
            tmp_path / "photos" / f"instances_{split}.json",
            images,
            ["balloon"],
            root=tmp_path / "photos" / split,
        )
    sources = ingest_photos(run, tmp_path / "photos", WHOLE, SplitParameters())
    exported = export_and_read(run, sources, tmp_path, "coco", "coco")
    assert len(exported) == len(sources.images) == 28
    for source in sources.images:
        for number, item in enumerate(find_export(exported, source).objects):
            box, mask = content(run, source, number)
            assert item.box == box
            assert item.mask is not None
            np.testing.assert_array_equal(item.mask, mask)
