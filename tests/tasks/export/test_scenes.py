"""Photos of several classes or none keep every box from their annotations to each export."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from flows.build_datasets import real_samples
from flows.config.recipe import Recipe
from models.data.formats.annotated import AnnotatedImage, Box
from models.data.formats.detect import READERS
from models.data.formats.voc import write_voc
from models.data.records import Sample
from models.data.splits.splitting import SplitParameters
from tasks.assemble.write_datasets import write_datasets
from tasks.engine.run_context import RunContext
from tasks.export.formats import export_dataset
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.store.store import open_store
from tests.tasks.ingest.test_annotated import CLASSES, draw_images
from tests.tasks.ingest.test_whole_photos import boxed

KINDS = [["disc", "block", "block"], [], ["block"], ["disc"], ["disc", "block"], []]
# Of photos with sides of 150 and 110 px, so that boxes are no whole numbers.
RECIPE = Recipe.model_validate({"resize": {"longest_side": 97}})
Boxes = list[tuple[str, Box]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    """A finished dataset of scenes, and its samples."""
    folder = tmp_path_factory.mktemp("scenes")
    images = [boxed(image) for image in draw_images(folder / "drawn", KINDS)]
    splits = {"train": images[:2], "val": images[2:4], "test": images[4:]}
    write_voc(folder / "photos", splits, CLASSES)
    run = RunContext(open_store(folder / "store"), "test")
    parameters = SplitParameters(compare_pictures=False)
    sources = ingest_photos(run, folder / "photos", Ingest(objects="scene"), parameters)
    samples = real_samples(run, RECIPE, sources)
    train, val, test = ([sample for sample in samples if sample.split == split] for split in splits)
    datasets = {"real": {"train": train, "val": val}}
    write_datasets(run.store, folder / "out", datasets, test, sources.classes)
    return folder / "out", samples


def boxes_of(samples: Sequence[Sample], split: str) -> dict[str, Boxes]:
    """The class and box of each object, by the digest of its image file."""
    return {
        sample.image.digest: [(note.label, note.box) for note in sample.annotations if note.box]
        for sample in samples
        if sample.split == split
    }


def read_boxes(images: Sequence[AnnotatedImage]) -> dict[str, Boxes]:
    return {
        digest_of(image.file): [(item.label, item.box) for item in image.objects if item.box]
        for image in images
    }


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_annotations_of_a_dataset_hold_all_boxes(drawn: tuple[Path, list[Sample]]) -> None:
    out, samples = drawn
    assert (out / "classes.txt").read_text().split() == ["block", "disc"]
    for split in ("train", "val", "test"):
        coco = COCO(str(out / "annotations" / "real" / f"{split}.json"))
        found = {
            entry["sha256"]: [
                (coco.cats[note["category_id"]]["name"], tuple(note["bbox"]))
                for note in coco.imgToAnns[entry["id"]]
            ]
            for entry in coco.dataset["images"]
        }
        assert found == boxes_of(samples, split)
    assert len(list((out / "datasets").rglob("*.jpg"))) == len(KINDS)


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_an_export_reads_back_with_the_same_boxes(
    drawn: tuple[Path, list[Sample]], tmp_path: Path, form: str
) -> None:
    out, samples = drawn
    assert export_dataset(out, "real", tmp_path / form, form) == {"train": 2, "val": 2, "test": 2}
    read = READERS[form](tmp_path / form)
    assert sorted(read.classes) == ["block", "disc"]
    for split, images in read.splits.items():
        assert read_boxes(images) == boxes_of(samples, split)
    bare = [image for images in read.splits.values() for image in images if not image.objects]
    assert len(bare) == 2


def test_pycocotools_reads_an_export_with_its_photos_without_an_object(
    drawn: tuple[Path, list[Sample]], tmp_path: Path
) -> None:
    out, samples = drawn
    export_dataset(out, "real", tmp_path / "coco", "coco")
    coco = COCO(str(tmp_path / "coco" / "annotations" / "instances_train.json"))
    found = {
        digest_of(tmp_path / "coco" / "images" / "train" / entry["file_name"]): [
            (coco.cats[note["category_id"]]["name"], tuple(note["bbox"]))
            for note in coco.imgToAnns[entry["id"]]
        ]
        for entry in coco.loadImgs(coco.getImgIds())
    }
    assert found == boxes_of(samples, "train")
    assert [] in found.values()


def test_folders_of_classes_refuse_a_photo_without_an_object(
    drawn: tuple[Path, list[Sample]], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"no object is annotated in it.* export as coco, voc or"):
        export_dataset(drawn[0], "real", tmp_path / "folders", "imagefolder")
    assert not (tmp_path / "folders").exists()
