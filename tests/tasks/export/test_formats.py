"""Every export format is read back with its own reference reader."""

import hashlib
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torchvision.datasets import ImageFolder, VOCDetection

from models.data.formats.annotated import AnnotatedImage, ObjectAnnotation
from models.data.formats.coco import write_coco
from models.data.formats.detect import READERS, detect_format
from models.data.pixels import encode_jpeg
from synthset.run import export
from tasks.export.formats import FORMATS, export_dataset
from tasks.export.rows import SPLITS, read_dataset
from tests.readers import indices_of_datasets, indices_of_timm, indices_of_torchvision, listed

CLASSES = ["bowl", "mug"]
SIZE = (40, 30)


@dataclass(frozen=True)
class Expected:
    """What a reader must find of one image: its bytes, class, boxes and the pixels of its masks."""

    digest: str
    label: str
    boxes: tuple[tuple[float, ...], ...]
    masks: tuple[str, ...] = ()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def mask_digest(mask: Any) -> str:
    return digest(np.packbits(np.asarray(mask, np.bool_)).tobytes())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return make_run(tmp_path / "out")


def make_run(
    out: Path,
    is_annotated: bool = True,
    has_hole: bool = False,
    classes: Sequence[str] = CLASSES,
) -> Path:
    """A finished run with the dataset "mixed": per split an image of each class, two of the first,
    so that by default two are bowls."""
    out.mkdir()
    (out / "classes.txt").write_text("".join(f"{label}\n" for label in classes))
    first, *others = classes
    rng = np.random.default_rng(5)
    for split in SPLITS:
        images, extra = [], []
        for label, name in ((first, "a"), (first, "b"), *((other, "a") for other in others)):
            folder = out / "datasets" / ("test" if split == "test" else f"mixed/{split}") / label
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
            (folder / f"{name}.jpg").write_bytes(encode_jpeg(pixels))
            mask = np.zeros((SIZE[1], SIZE[0]), np.bool_)
            mask[5:20, 3:9] = True
            mask[7, 3:5] = False
            mask[12, 5] = not has_hole
            objects = (
                ObjectAnnotation(label, None, mask),
                ObjectAnnotation(classes[-1], (20.0, 3.0, 11.0, 6.0)),
            )
            file = folder / f"{name}.jpg"
            images.append(AnnotatedImage(file, *SIZE, objects if is_annotated else ()))
            extra.append({"label": label, "sample": f"{label}/{name}", "scores": {"sharpness": 1}})
        file = out / "annotations" / "mixed" / f"{split}.json"
        write_coco(file, images, list(classes), root=out, extra=extra)
    return out


def expected_rows(out: Path, split: str, has_boxes: bool, has_masks: bool) -> list[Expected]:
    rows = []
    for row in read_dataset(out, "mixed")[split]:
        objects = row.annotated.objects
        boxes = tuple(o.box for o in objects if o.box) if has_boxes else ()
        masks = tuple(mask_digest(o.mask) for o in objects if o.mask is not None)
        blob = row.file.read_bytes()
        rows.append(Expected(digest(blob), row.label, boxes, masks if has_masks else ()))
    return sorted(rows, key=lambda row: row.digest)


def read_imagefolder(folder: Path, split: str) -> list[Expected]:
    dataset = ImageFolder(str(folder / split))
    assert dataset.classes == CLASSES
    return [Expected(digest(Path(f).read_bytes()), CLASSES[i], ()) for f, i in dataset.samples]


def read_coco_files(folder: Path, split: str) -> list[Expected]:
    coco = COCO(str(folder / "annotations" / f"instances_{split}.json"))
    assert [coco.cats[number]["name"] for number in (1, 2)] == CLASSES
    rows = []
    for entry in coco.loadImgs(coco.getImgIds()):
        annotations = coco.loadAnns(coco.getAnnIds([entry["id"]]))
        boxes = tuple(tuple(a["bbox"]) for a in annotations)
        masks = tuple(mask_digest(coco.annToMask(a)) for a in annotations if a["segmentation"])
        blob = (folder / "images" / split / entry["file_name"]).read_bytes()
        rows.append(Expected(digest(blob), entry["label"], boxes, masks))
    return rows


def read_voc_files(folder: Path, split: str) -> list[Expected]:
    devkit = folder.parent / "devkit" / "VOCdevkit"
    devkit.mkdir(parents=True, exist_ok=True)
    if not (devkit / "VOC2007").exists():
        (devkit / "VOC2007").symlink_to(folder)
    dataset = VOCDetection(str(devkit.parent), "2007", split)
    rows = []
    for index, (_, target) in enumerate(dataset):
        objects = target["annotation"]["object"]
        corners = [
            [float(o["bndbox"][k]) for k in ("xmin", "ymin", "xmax", "ymax")] for o in objects
        ]
        boxes = tuple(
            (x - 1, y - 1, right - x + 1, bottom - y + 1) for x, y, right, bottom in corners
        )
        blob = Path(dataset.images[index]).read_bytes()
        rows.append(Expected(digest(blob), objects[0]["name"], boxes))
    return rows


def read_own(form: str) -> Callable[[Path, str], list[Expected]]:
    """A reader for formats whose own reader is no package: the one that ingests photo folders."""

    def read(folder: Path, split: str) -> list[Expected]:
        assert detect_format(folder) == form
        dataset = READERS[form](folder)
        assert dataset.classes == CLASSES
        rows = []
        for image in dataset.splits[split]:
            boxes = tuple(o.box for o in image.objects if o.box)
            masks = tuple(mask_digest(o.mask) for o in image.objects if o.mask is not None)
            blob = image.file.read_bytes()
            rows.append(Expected(digest(blob), image.objects[0].label, boxes, masks))
        return rows

    return read


def rows_of_json(digests: str, label: str, objects: list[dict[str, Any]]) -> Expected:
    boxes = tuple(tuple(o["bbox"]) for o in objects)
    runs = [o["segmentation"] for o in objects if o["segmentation"]]
    return Expected(digests, label, boxes, tuple(mask_digest(coco_mask.decode(r)) for r in runs))


def read_huggingface(folder: Path, split: str) -> list[Expected]:
    from datasets import Image, load_dataset

    cache = str(folder.parent / "cache")
    dataset = load_dataset("imagefolder", data_dir=str(folder), cache_dir=cache)
    assert sorted(dataset) == ["test", "train", "validation"]
    rows = dataset["validation" if split == "val" else split].cast_column(
        "image", Image(decode=False)
    )
    return [
        rows_of_json(
            digest(Path(row["image"]["path"]).read_bytes()),
            row["label"],
            json.loads(row["objects"]),
        )
        for row in rows
    ]


def read_webdataset(folder: Path, split: str) -> list[Expected]:
    rows = []
    for shard in sorted(folder.glob(f"{split}-*.tar")):
        with tarfile.open(shard) as tar:
            content = {m.name: tar.extractfile(m) for m in tar}
            blobs = {name: stream.read() for name, stream in content.items() if stream}
        for key in sorted({name.partition(".")[0] for name in blobs}):
            record = json.loads(blobs[f"{key}.json"])
            assert CLASSES[int(blobs[f"{key}.cls"])] == record["label"]
            rows.append(
                rows_of_json(digest(blobs[f"{key}.jpg"]), record["label"], record["objects"])
            )
    return rows


# The reader, and whether it finds boxes and masks.
READER = {
    "imagefolder": (read_imagefolder, False, False),
    "coco": (read_coco_files, True, True),
    "voc": (read_voc_files, True, False),
    "voc-masks": (read_own("voc"), True, True),
    "yolo": (read_own("yolo"), True, False),
    "yolo-polygons": (read_own("yolo"), True, True),
    "huggingface": (read_huggingface, True, True),
    "webdataset": (read_webdataset, True, True),
}


@pytest.mark.parametrize("form", FORMATS)
def test_the_reference_reader_finds_every_image_with_its_annotations(
    out: Path, tmp_path: Path, form: str
) -> None:
    counts = export_dataset(out, "mixed", tmp_path / "to", form)
    assert counts == dict.fromkeys(SPLITS, 3)
    read, has_boxes, has_masks = READER[form]
    for split in SPLITS:
        found = sorted(read(tmp_path / "to", split), key=lambda row: row.digest)
        assert found == expected_rows(out, split, has_boxes, has_masks)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_dataset_gives_the_same_bytes(out: Path, tmp_path: Path, form: str) -> None:
    contents = []
    for name in ("1", "2"):
        export_dataset(out, "mixed", tmp_path / name, form)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        contents.append([(p.relative_to(tmp_path / name), digest(p.read_bytes())) for p in files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("form", FORMATS)
def test_images_without_boxes_are_refused_only_where_their_class_would_be_lost(
    tmp_path: Path, form: str
) -> None:
    out = make_run(tmp_path / "plain", is_annotated=False)
    if form.startswith(("voc", "yolo")):
        with pytest.raises(
            ValueError, match="train image bowl/a: has the class 'bowl' but no box or mask"
        ):
            export_dataset(out, "mixed", tmp_path / "to", form)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["plain"]
    else:
        export_dataset(out, "mixed", tmp_path / "to", form)
        found = sorted(READER[form][0](tmp_path / "to", "test"), key=lambda row: row.digest)
        assert found == expected_rows(out, "test", True, True)


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_the_box_of_an_object_with_a_mask_alone_is_that_of_the_mask(
    out: Path, tmp_path: Path, form: str
) -> None:
    boxed = [row.boxes for row in expected_rows(out, "test", True, False)]
    for file in (out / "annotations" / "mixed").iterdir():
        document = json.loads(file.read_text())
        for annotation in document["annotations"]:
            if annotation["segmentation"]:
                del annotation["bbox"]
        file.write_text(json.dumps(document))
    export_dataset(out, "mixed", tmp_path / "to", form)
    found = sorted(READER[form][0](tmp_path / "to", "test"), key=lambda row: row.digest)
    assert [row.boxes for row in found] == boxed


def test_names_an_image_of_the_run_that_can_not_be_read(out: Path, tmp_path: Path) -> None:
    (out / "datasets" / "test" / "mug" / "a.jpg").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"mug/a\.jpg: the content is text.*run it again"):
        export_dataset(out, "mixed", tmp_path / "to", "imagefolder")


def test_the_command_finishes_an_interrupted_exchange_of_folders_first(
    out: Path, tmp_path: Path
) -> None:
    staging = out / ".synthset-writing"
    staging.mkdir()
    for name in ("annotations", "datasets", "classes.txt"):
        (out / name).rename(staging / name)
    (staging / "complete").touch()
    export(out, "mixed", tmp_path / "to")
    assert not staging.exists()
    assert len(read_imagefolder(tmp_path / "to", "val")) == 3


# Split names, numbers of which readers know two orders, and words that YAML takes for values.
HARD = ("1", "10", "2", "A b", "a_b", "no", "test", "train", "val", "[x] {y} $z$ #100%", "猫 🐱")


@pytest.fixture
def hard(tmp_path: Path) -> Path:
    """The folder of a run with classes that are hard for readers."""
    return make_run(tmp_path / "hard", classes=sorted(HARD))


def test_every_reader_finds_the_same_indices_in_an_imagefolder(hard: Path, tmp_path: Path) -> None:
    to, classes = tmp_path / "to", sorted(HARD)
    export_dataset(hard, "mixed", to, "imagefolder")
    read = indices_of_datasets(to)
    for split in SPLITS:
        expected = listed(to / split, classes)
        assert len(expected) == len(HARD) + 1
        assert read[split] == expected
        assert indices_of_torchvision(to / split) == expected
        assert indices_of_timm(to / split, to / "classes.txt") == expected


def test_datasets_finds_the_splits_and_indices_of_an_export(hard: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    to, classes = tmp_path / "to", sorted(HARD)
    export_dataset(hard, "mixed", to, "huggingface")
    splits = load_dataset(str(to), cache_dir=str(tmp_path / "cache"))
    for split in SPLITS:
        rows = splits["validation" if split == "val" else split]
        assert len(rows) == len(HARD) + 1
        assert [classes[index] for index in rows["class_index"]] == list(rows["label"])


def test_datasets_reads_a_webdataset(hard: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    to, classes = tmp_path / "to", sorted(HARD)
    export_dataset(hard, "mixed", to, "webdataset")
    files = {split: str(to / f"{split}-*.tar") for split in SPLITS}
    splits = load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path / "cache"))
    for split in SPLITS:
        found = [(classes[row["cls"]], row["json"]["label"]) for row in splits[split]]
        assert len(found) == len(HARD) + 1
        assert all(label == other for label, other in found)


@pytest.mark.parametrize("form", ["coco", "voc", "voc-masks", "yolo"])
def test_hard_classes_are_read_back_from_every_format(
    hard: Path, tmp_path: Path, form: str
) -> None:
    export_dataset(hard, "mixed", tmp_path / "to", form)
    found = READERS[form.partition("-")[0]](tmp_path / "to")
    assert found.classes == sorted(HARD)
    for split in SPLITS:
        labels = {image.objects[0].label for image in found.splits[split]}
        assert labels == set(HARD)


def test_polygons_refuse_a_hole_by_name_and_write_nothing(tmp_path: Path) -> None:
    out = make_run(tmp_path / "out", has_hole=True)
    with pytest.raises(ValueError, match=r"a\.jpg: bowl: the mask must have no hole"):
        export_dataset(out, "mixed", tmp_path / "to", "yolo-polygons")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_a_class_without_images_in_a_split_keeps_its_index(out: Path, tmp_path: Path) -> None:
    file = out / "annotations" / "mixed" / "val.json"
    document = json.loads(file.read_text())
    document["images"] = [entry for entry in document["images"] if entry["label"] == "mug"]
    document["annotations"] = []
    file.write_text(json.dumps(document))
    export_dataset(out, "mixed", tmp_path / "to", "imagefolder")
    dataset = ImageFolder(str(tmp_path / "to" / "val"), allow_empty=True)
    assert dataset.classes == CLASSES
    assert [index for _, index in dataset.samples] == [1]


def test_refuses_wrong_arguments_in_one_line(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--format coconut: is unknown; choose one of imagefolder"):
        export_dataset(out, "mixed", tmp_path / "to", "coconut")
    with pytest.raises(ValueError, match=r"--dataset real: .* choose one of: mixed"):
        export_dataset(out, "real", tmp_path / "to", "coco")
    with pytest.raises(ValueError, match="no such dataset"):
        export_dataset(out, "../annotations/mixed", tmp_path / "to", "coco")
    with pytest.raises(ValueError, match=r"holds no classes\.txt"):
        export_dataset(tmp_path, "mixed", tmp_path / "to", "coco")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(ValueError, match="is not empty; name a new folder"):
        export_dataset(out, "mixed", tmp_path / "full", "coco")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "out"]


def test_an_empty_folder_is_filled(out: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    export_dataset(out, "mixed", tmp_path / "to", "coco")
    assert (tmp_path / "to" / "annotations" / "instances_val.json").is_file()


def test_many_images_become_several_shards(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.export.formats.IMAGES_PER_SHARD", 2)
    export_dataset(out, "mixed", tmp_path / "to", "webdataset")
    names = sorted(p.name for p in (tmp_path / "to").iterdir())
    assert names == [f"{split}-{n:06d}.tar" for split in sorted(SPLITS) for n in range(2)]
    assert len(read_webdataset(tmp_path / "to", "val")) == 3
