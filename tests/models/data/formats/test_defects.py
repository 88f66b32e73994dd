"""Photos under a fixed camera: good ones, and defects with masks in the layouts of public sets."""

from pathlib import Path

import numpy as np
import pytest

from models.data.formats.annotated import AnnotatedDataset, AnnotationError
from models.data.formats.defects import read_defects
from models.data.formats.detect import detect_format
from models.data.pixels import encode_png

WIDTH, HEIGHT = 60, 40
# Two far scratches; the second has a gap of a px.
FAR = ((5, 4, 10, 2), (30, 30, 6, 3), (37, 30, 6, 3))


def write(
    file: Path, *boxes: tuple[int, int, int, int], size: tuple[int, int] | None = None
) -> None:
    width, height = size or (WIDTH, HEIGHT)
    picture = np.zeros((height, width), np.uint8)
    for x, y, w, h in boxes:
        picture[y : y + h, x : x + w] = 255
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(
        encode_png(picture if file.stem.endswith("_mask") else np.dstack([picture] * 3))
    )


def write_set(
    root: Path, *, levels: bool = True, next_to: bool = False, trains: bool = False
) -> None:
    train, test = (root / "train", root / "test") if levels else (root, root)
    write(train / "good" / "000.png")
    write(test / "good" / "001.png")
    write(test / "scratch" / "000.png")
    write(test / "dent" / "000.png")
    truth = test if next_to else root / "ground_truth"
    write(truth / "scratch" / "000_mask.png", *FAR)
    write(truth / "dent" / "000_mask.png", (1, 1, 5, 5))
    if trains:
        write(train / "scratch" / "007.png")
        write(root / "ground_truth" / "scratch" / "007_mask.png", (2, 2, 3, 3))


def objects_of(found: AnnotatedDataset, split: str = "") -> dict[str, list[tuple[str, object]]]:
    return {
        "/".join(image.file.parts[-2:]): [(item.label, item.box) for item in image.objects]
        for image in found.splits[split]
    }


@pytest.mark.parametrize(
    ("levels", "next_to"), [(True, False), (True, True), (False, False), (False, True)]
)
def test_all_layouts_give_the_same_objects(tmp_path: Path, levels: bool, next_to: bool) -> None:
    write_set(tmp_path, levels=levels, next_to=next_to)
    assert detect_format(tmp_path) == "defects"
    found = read_defects(tmp_path)
    assert list(found.splits) == [""]
    assert found.classes == ["dent", "scratch"]
    assert objects_of(found) == {
        "good/000.png": [],
        "good/001.png": [],
        "scratch/000.png": [
            ("scratch", (5.0, 4.0, 10.0, 2.0)),
            ("scratch", (30.0, 30.0, 13.0, 3.0)),
        ],
        "dent/000.png": [("dent", (1.0, 1.0, 5.0, 5.0))],
    }
    scratch = next(image for image in found.splits[""] if image.file.parent.name == "scratch")
    masks = [item.mask for item in scratch.objects]
    assert [int(mask.sum()) for mask in masks if mask is not None] == [20, 36]
    assert [note.partition(":")[0] for note in found.notes] == (["test, train"] if levels else [])


def test_labels_alone_open_no_photo(tmp_path: Path) -> None:
    write_set(tmp_path)
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"no picture")
    found = read_defects(tmp_path, labels_only=True)
    labels = {name: [label for label, _ in items] for name, items in objects_of(found).items()}
    assert labels == {
        "good/000.png": [],
        "good/001.png": [],
        "scratch/000.png": ["scratch"],
        "dent/000.png": ["dent"],
    }


def test_levels_are_the_splits_if_train_shows_a_defect(tmp_path: Path) -> None:
    write_set(tmp_path, trains=True)
    found = read_defects(tmp_path)
    assert set(found.splits) == {"train", "test"}
    assert not found.notes
    assert objects_of(found, "train")["scratch/007.png"] == [("scratch", (2.0, 2.0, 3.0, 3.0))]
    assert "scratch/000.png" in objects_of(found, "test")


def test_defects_whose_mask_can_t_be_used_have_a_problem(tmp_path: Path) -> None:
    write_set(tmp_path)
    truth = tmp_path / "ground_truth" / "scratch"
    for name, boxes, size in (
        ("001", (), None),
        ("002", FAR, (WIDTH + 5, HEIGHT)),
        ("003", FAR, None),
    ):
        write(tmp_path / "test" / "scratch" / f"{name}.png")
        write(truth / f"{name}_mask.png", *boxes, size=size)
    (truth / "003_mask.png").write_bytes(b"no picture")
    write(tmp_path / "test" / "scratch" / "004.png")
    problems = {image.file.stem: image.problem for image in read_defects(tmp_path).splits[""]}
    assert {stem: problem for stem, problem in problems.items() if problem} == {
        "001": "its mask shows no defect",
        "002": "its mask is 65x40 px, the photo 60x40 px",
        "003": "its mask is no sound picture",
        "004": "its mask is missing; add ground_truth/scratch/004_mask.png",
    }


def test_class_folders_without_masks_stay_class_folders(tmp_path: Path) -> None:
    write(tmp_path / "good" / "1.png")
    write(tmp_path / "scratch" / "1.png")
    assert detect_format(tmp_path) == "folders"


def test_a_set_without_good_photos_or_without_a_defect_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "good" / "1.png")
    write(tmp_path / "b" / "scratch" / "1.png")
    for name in ("a", "b"):
        with pytest.raises(AnnotationError, match="needs a folder good and one per kind"):
            read_defects(tmp_path / name)
