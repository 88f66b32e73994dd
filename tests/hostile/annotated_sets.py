"""COCO, Pascal VOC and YOLO sets with one mistake in each."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.hostile.folders import (
    CLASSES,
    Ending,
    WriteFolder,
    bad,
    write_classes,
)
from tests.hostile.kinds import draw_picture

Rng = np.random.Generator
N_PHOTOS = 10


def write_coco(root: Path, rng: Rng, number: int) -> Ending:
    """A COCO set with one mistake in its file."""
    write_classes(root, rng, "images", count=N_PHOTOS)
    content = {
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
    mistakes: tuple[tuple[str, Callable[[], object]], ...] = (
        ("image_id 99", lambda: content["annotations"][0].update(image_id=99)),
        ("category_id 7", lambda: content["annotations"][1].update(category_id=7)),
        ("bbox", lambda: content["annotations"][2].update(bbox=[1, 2, 3])),
        ("outside", lambda: content["annotations"][0].update(bbox=[80, 10, 40, 40])),
        ("missing", lambda: content["images"][0].update(file_name="images/gone.png")),
        ("size", lambda: content["images"][1].update(width=960)),
        ("same name", lambda: content["categories"][1].update(name="disc")),
        ("leads out", lambda: content["images"][3].update(file_name="../../etc/passwd")),
        ("occurs twice|twice", lambda: content["images"][3].update(id=0)),
    )
    says, apply = mistakes[number % len(mistakes)]
    apply()
    text = json.dumps(content)
    if number % 10 == 9:
        says, text = "no valid JSON", text[: len(text) // 2]
    (root / "instances.json").write_text(text)
    return bad(f"instances.json.*({says})")


def write_voc(root: Path, rng: Rng, number: int) -> Ending:
    """A Pascal VOC set with one mistake."""
    write_classes(root, rng, "JPEGImages", count=N_PHOTOS)
    for n in range(N_PHOTOS):
        draw_picture(rng).save(root / "JPEGImages" / f"photo{n}.jpg")
        (root / "JPEGImages" / f"photo{n}.png").unlink()
    (root / "Annotations").mkdir()
    box = "<xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>50</ymax>"
    named = "<size><width>96</width><height>72</height></size><object><name>disc</name>"
    text = f"<annotation>{named}<bndbox>{box}</bndbox></object></annotation>"
    for n in range(N_PHOTOS):
        own = text.replace("disc", CLASSES[n % 2])
        (root / "Annotations" / f"photo{n}.xml").write_text(own)
    mistakes = (
        ("no valid XML", text[:-20]),
        ("must be a number", text.replace("<xmin>10", "<xmin>ten")),
        ("has no name", text.replace("<name>disc</name>", "")),
        ("outside", text.replace("<xmax>50", "<xmax>500")),
        ("size 960x72", text.replace(">96<", ">960<")),
        ("document type", f"<!DOCTYPE a [<!ENTITY b 'c'>]>{text}"),
    )
    says, broken = mistakes[number % len(mistakes)]
    (root / "Annotations" / "photo1.xml").write_text(broken)
    return bad(f"photo1.xml.*({says})")


def write_yolo(root: Path, rng: Rng, number: int) -> Ending:
    """A YOLO set with one mistake."""
    write_classes(root / "images", rng, "train", count=N_PHOTOS)
    labels = root / "labels" / "train"
    labels.mkdir(parents=True)
    for n in range(N_PHOTOS):
        (labels / f"photo{n}.txt").write_text(f"{n % 2} 0.5 0.5 0.4 0.4\n")
    config = "train: images/train\nnames: [disc, box]\n"
    rows = {"unknown": "9 0.5 0.5 0.4 0.4\n", "columns": "0 0.5 0.5\n", "number": "0 a b c d\n"}
    says = (*rows, "nc is 3", "no folder", "no valid YAML", "names")[number % 7]
    if says in rows:
        (labels / "photo1.txt").write_text(rows[says])
    elif says == "nc is 3":
        config += "nc: 3\n"
    elif says == "no folder":
        config = config.replace("images/train", "images/gone")
    elif says == "names":
        config = "train: images/train\n"
    else:
        config += "names: [disc\n"
    (root / "data.yaml").write_text(config)
    return bad(says)


KINDS: dict[str, WriteFolder] = {"COCO": write_coco, "VOC": write_voc, "YOLO": write_yolo}
