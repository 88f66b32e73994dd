"""COCO, Pascal VOC and YOLO sets with one mistake in each."""

import json
from pathlib import Path

import numpy as np

from tests.hostile.endings import (
    CLASSES,
    Ending,
    FolderKind,
    bad,
    write_classes,
)
from tests.hostile.kinds import draw_picture

Rng = np.random.Generator
N_PHOTOS = 10
# What the line says, and the entry that is changed.
_COCO_MISTAKES: tuple[tuple[str, str, int, dict[str, object]], ...] = (
    ("annotation 0: image_id 99 is unknown", "annotations", 0, {"image_id": 99}),
    ("annotation 1: category_id 7 is unknown", "annotations", 1, {"category_id": 7}),
    ("annotation 2: bbox must be four numbers", "annotations", 2, {"bbox": [1, 2, 3]}),
    ("annotation 0: the box .* lies outside", "annotations", 0, {"bbox": [80, 10, 40, 40]}),
    ("image 0: the image .*gone.png is missing", "images", 0, {"file_name": "images/gone.png"}),
    ("image 1: the size 960x72 px is not that of", "images", 1, {"width": 960}),
    ("categories: two have the same name", "categories", 1, {"name": "disc"}),
    ("image 3: .* leads out of the folder", "images", 3, {"file_name": "../../etc/passwd"}),
    ("images: the id 0 occurs twice", "images", 3, {"id": 0}),
)
_VOC = (
    "<annotation><size><width>96</width><height>72</height></size><object><name>disc</name><bndbox>"
    "<xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>50</ymax></bndbox></object></annotation>"
)
_VOC_MISTAKES = (
    ("is no valid XML", _VOC[:-20]),
    ("object 1: bndbox/xmin must be a number", _VOC.replace("<xmin>10", "<xmin>ten")),
    ("object 1: has no name", _VOC.replace("<name>disc</name>", "")),
    ("object 1: the box .* lies outside", _VOC.replace("<xmax>50", "<xmax>500")),
    ("the size 960x72 px is not that of", _VOC.replace(">96<", ">960<")),
    ("holds a document type", f"<!DOCTYPE a [<!ENTITY b 'c'>]>{_VOC}"),
)
_YOLO_ROWS = (
    ("the class id 9 is unknown", "9 0.5 0.5 0.4 0.4"),
    ("3 columns; a box has 5", "0 0.5 0.5"),
    ("a column is no number", "0 a b c d"),
)
_YOLO_CONFIG = "train: images/train\nnames: [disc, box]\n"
_YOLO_CONFIGS = (
    ("nc is 3, but names lists 2 classes", f"{_YOLO_CONFIG}nc: 3\n"),
    ("train: there is no folder", _YOLO_CONFIG.replace("images/train", "images/gone")),
    ("is no valid YAML", f"{_YOLO_CONFIG}names: [disc\n"),
    ("names must list the classes", "train: images/train\n"),
)


def write_coco(root: Path, rng: Rng, case: int) -> Ending:
    """A COCO set with one mistake in its file."""
    write_classes(root, rng, "images", count=N_PHOTOS)
    content: dict[str, list[dict[str, object]]] = {
        "images": [
            {"id": n, "file_name": f"images/photo{n}.png", "width": 96, "height": 72}
            for n in range(N_PHOTOS)
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": n % 2, "bbox": [10, 10, 40, 40]}
            for n in range(N_PHOTOS)
        ],
        "categories": [{"id": 0, "name": "disc"}, {"id": 1, "name": "box"}],
    }
    if case == len(_COCO_MISTAKES):
        text = json.dumps(content)
        (root / "instances.json").write_text(text[: len(text) // 2])
        return bad("instances.json: is no valid JSON")
    says, part, place, change = _COCO_MISTAKES[case]
    content[part][place].update(change)
    (root / "instances.json").write_text(json.dumps(content))
    return bad(f"instances.json: {says}")


def write_voc(root: Path, rng: Rng, case: int) -> Ending:
    """A Pascal VOC set with one mistake."""
    write_classes(root, rng, "JPEGImages", count=N_PHOTOS)
    for n in range(N_PHOTOS):
        draw_picture(rng).save(root / "JPEGImages" / f"photo{n}.jpg")
        (root / "JPEGImages" / f"photo{n}.png").unlink()
    (root / "Annotations").mkdir()
    for n in range(N_PHOTOS):
        own = _VOC.replace("disc", CLASSES[n % 2])
        (root / "Annotations" / f"photo{n}.xml").write_text(own)
    says, broken = _VOC_MISTAKES[case]
    (root / "Annotations" / "photo1.xml").write_text(broken)
    return bad(f"photo1.xml: {says}")


def write_yolo(root: Path, rng: Rng, case: int) -> Ending:
    """A YOLO set with one mistake."""
    write_classes(root / "images", rng, "train", count=N_PHOTOS)
    labels = root / "labels" / "train"
    labels.mkdir(parents=True)
    for n in range(N_PHOTOS):
        (labels / f"photo{n}.txt").write_text(f"{n % 2} 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text(_YOLO_CONFIG)
    if case < len(_YOLO_ROWS):
        says, row = _YOLO_ROWS[case]
        (labels / "photo1.txt").write_text(f"{row}\n")
        return bad(f"photo1.txt: line 1: {says}")
    says, config = _YOLO_CONFIGS[case - len(_YOLO_ROWS)]
    (root / "data.yaml").write_text(config)
    return bad(f"data.yaml: {says}")


KINDS: dict[str, FolderKind] = {
    "COCO": FolderKind(write_coco, len(_COCO_MISTAKES) + 1),
    "VOC": FolderKind(write_voc, len(_VOC_MISTAKES)),
    "YOLO": FolderKind(write_yolo, len(_YOLO_ROWS) + len(_YOLO_CONFIGS)),
}
