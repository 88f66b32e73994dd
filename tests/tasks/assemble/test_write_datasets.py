import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from models.data.records import Sample
from tasks.assemble import write_datasets as module
from tasks.assemble.dataset_files import ForeignFileError
from tasks.assemble.write_datasets import REPORT_FILES, refuse_foreign, write_datasets
from tasks.store.store import Store, open_store
from tests.tasks.assemble.cases import stored_sample

CLASSES = ("cup", "pan")
MASK = np.zeros((10, 20), bool)
MASK[2:7, 3:9] = True
MASK[4, 5] = False
OTHER = np.zeros((10, 20), bool)
OTHER[0:3, 15:20] = True


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def write(
    store: Store,
    out: Path,
    names: Sequence[str],
    version: int = 0,
    classes: Sequence[str] = CLASSES,
    masks: tuple[Any, ...] = (MASK,),
) -> int:
    train = [stored_sample(store, name, "train", masks, version) for name in names]
    val = [stored_sample(store, f"{classes[0]}/val", "val")]
    test = [stored_sample(store, f"{classes[1]}/test", "test")]
    return write_datasets(store, out, {"mixed": {"train": train, "val": val}}, test, classes)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def folders(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_dir()}


def test_writes_exactly_the_images_masks_and_annotations_of_the_samples(
    store: Store, out: Path
) -> None:
    assert write(store, out, ["pan/b", "cup/ä"]) == 6
    assert set(snapshot(out)) == {
        ".synthset-files",
        "annotations/mixed/test.json",
        "annotations/mixed/train.json",
        "annotations/mixed/val.json",
        "classes.txt",
        "datasets/mixed/train/cup/ä.jpg",
        "datasets/mixed/train/pan/b.jpg",
        "datasets/mixed/val/cup/val.jpg",
        "datasets/test/pan/test.jpg",
        "masks/mixed/train/cup/ä.png",
        "masks/mixed/train/pan/b.png",
    }
    assert (out / "classes.txt").read_text() == "cup\npan\n"
    assert (out / "datasets/mixed/train/pan/b.jpg").read_bytes() == b"image pan/b 0"


def test_each_split_has_a_folder_for_each_class_even_if_it_is_empty(
    store: Store, out: Path
) -> None:
    write(store, out, ["cup/a"])
    for split in ("datasets/mixed/train", "datasets/mixed/val", "datasets/test"):
        assert sorted(path.name for path in (out / split).iterdir()) == list(CLASSES)


def test_pycocotools_reads_boxes_and_exact_masks(store: Store, out: Path) -> None:
    write(store, out, ["cup/a", "pan/b"], masks=(MASK, OTHER))
    coco = COCO(out / "annotations/mixed/train.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    for image in coco.loadImgs(coco.getImgIds()):
        assert (out / image["file_name"]).is_file()
        assert (image["width"], image["height"]) == (20, 10)
        entries = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert len(entries) == 2
        for entry, mask, name in zip(entries, (MASK, OTHER), image["masks"], strict=True):
            (category,) = coco.loadCats(entry["category_id"])
            assert category["name"] == image["label"]
            np.testing.assert_array_equal(coco.annToMask(entry).astype(bool), mask)
            assert entry["area"] == mask.sum()
            assert list(coco_mask.toBbox(entry["segmentation"])) == entry["bbox"]
            assert (out / name).is_file()
    scores = json.loads((out / "annotations/mixed/train.json").read_text())["images"][0]["scores"]
    assert scores == {"sharpness": 1.5}


def test_the_masks_of_one_image_never_take_the_file_of_another(store: Store, out: Path) -> None:
    train = [
        stored_sample(store, "cup/a", "train", (MASK, OTHER)),
        stored_sample(store, "cup/a_0", "train", (OTHER,)),
        stored_sample(store, "pan/b", "train", (MASK,)),
    ]
    write_datasets(store, out, {"mixed": {"train": train, "val": []}}, [], CLASSES)
    for entry in json.loads((out / "annotations/mixed/train.json").read_text())["images"]:
        sample = next(sample for sample in train if sample.name == entry["sample"])
        written = [hashlib.sha256((out / name).read_bytes()).hexdigest() for name in entry["masks"]]
        assert written == [note.mask.digest for note in sample.annotations if note.mask]


def test_an_image_with_a_label_alone_has_no_coco_annotation(store: Store, out: Path) -> None:
    write(store, out, ["cup/a"], masks=())
    content = json.loads((out / "annotations/mixed/train.json").read_text())
    assert [image["label"] for image in content["images"]] == ["cup"]
    assert content["annotations"] == []


def test_writes_nothing_twice(store: Store, out: Path) -> None:
    write(store, out, ["cup/a", "pan/b"])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert write(store, out, ["cup/a", "pan/b"]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_files_that_stay_are_hard_links_to_the_earlier_files(store: Store, out: Path) -> None:
    write(store, out, ["cup/a"])
    kept = out / "datasets/mixed/train/cup/a.jpg"
    inode = kept.stat().st_ino
    assert write(store, out, ["cup/a", "pan/b"]) == 2
    assert kept.stat().st_ino == inode


def test_copies_files_where_the_file_system_has_no_hard_links(
    store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no hard links here")

    write(store, out, ["cup/a"])
    monkeypatch.setattr(os, "link", refuse)
    write(store, out, ["cup/a", "pan/b"])
    assert (out / "datasets/mixed/train/cup/a.jpg").read_bytes() == b"image cup/a 0"


def test_writes_a_changed_or_lost_file_again(store: Store, out: Path) -> None:
    write(store, out, ["cup/a", "pan/b"])
    before = snapshot(out)
    changed = out / "datasets/mixed/train/cup/a.jpg"
    changed.write_bytes(b"x" * changed.stat().st_size)
    (out / "masks/mixed/train/pan/b.png").unlink()
    (out / "annotations/mixed/val.json").write_text("{}")
    assert write(store, out, ["cup/a", "pan/b"]) == 2
    assert snapshot(out) == before


def test_nothing_of_an_earlier_recipe_stays(store: Store, out: Path, tmp_path: Path) -> None:
    write(store, out, ["cup/a", "cup/old", "pan/b"])
    write(store, out, ["cup/a", "pan/new"])
    write(store, tmp_path / "fresh", ["cup/a", "pan/new"])
    assert snapshot(out) == snapshot(tmp_path / "fresh")
    assert folders(out) == folders(tmp_path / "fresh")


def test_no_folder_of_a_renamed_class_stays(store: Store, out: Path) -> None:
    write(store, out, ["cup/a", "pan/b"])
    write(store, out, ["cup/a", "pot/b"], classes=("cup", "pot"))
    assert not [folder for folder in folders(out) if Path(folder).name == "pan"]


def test_masks_go_when_no_image_has_one_any_more(store: Store, out: Path, tmp_path: Path) -> None:
    write(store, out, ["cup/a", "pan/b"])
    write(store, out, ["cup/a", "pan/b"], masks=())
    write(store, tmp_path / "fresh", ["cup/a", "pan/b"], masks=())
    assert snapshot(out) == snapshot(tmp_path / "fresh")
    refuse_foreign(out)


def test_report_files_go_when_the_datasets_change(store: Store, out: Path) -> None:
    write(store, out, ["cup/a"])
    for name in REPORT_FILES:
        (out / name).write_text("of the first datasets")
    write(store, out, ["cup/a"])
    assert all((out / name).exists() for name in REPORT_FILES)
    write(store, out, ["cup/a", "pan/b"])
    assert not any((out / name).exists() for name in REPORT_FILES)


class KilledError(Exception):
    """Stands in for a kill: the process does nothing more."""


def run_killed_at(step: int, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run until the step-th change of the file system, which does not happen; whether it was
    reached."""
    steps = 0

    def count(change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal steps
            if steps >= step:
                raise KilledError
            steps += 1
            return change(*arguments, **more)

        return counted

    with monkeypatch.context() as patch:
        for owner, name in (
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (Path, "rmdir"),
            (Path, "touch"),
            (Path, "write_bytes"),
            (os, "link"),
            (shutil, "rmtree"),
        ):
            patch.setattr(owner, name, count(getattr(owner, name)))
        try:
            work()
        except KilledError:
            return True
        return False


def test_a_run_killed_between_any_two_steps_leaves_old_or_new_files(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write(store, old, ["cup/a", "cup/gone", "pan/b"])
    write(store, new, ["cup/a", "pan/c"], version=1)
    wanted = [(snapshot(folder), folders(folder)) for folder in (old, new)]
    train = [stored_sample(store, name, "train", (MASK,), 1) for name in ("cup/a", "pan/c")]
    val = [stored_sample(store, "cup/val", "val")]
    test = [stored_sample(store, "pan/test", "test")]
    seen = set()
    for step in range(1000):
        out = tmp_path / f"killed{step}"
        shutil.copytree(old, out)
        again = partial(_write, store, out, train, val, test)
        was_killed = run_killed_at(step, again, monkeypatch)
        # The next run looks at the folder first.
        refuse_foreign(out)
        state = (snapshot(out), folders(out))
        assert state in wanted, f"killed at step {step}"
        seen.add(wanted.index(state))
        again()
        assert (snapshot(out), folders(out)) == wanted[1]
        shutil.rmtree(out)
        if not was_killed:
            break
    assert seen == {0, 1}
    assert step > 15


def _write(
    store: Store, out: Path, train: list[Sample], val: list[Sample], test: list[Sample]
) -> None:
    write_datasets(store, out, {"mixed": {"train": train, "val": val}}, test, CLASSES)


@pytest.mark.parametrize("folder", ["datasets/mixed/train/cup", "annotations", "masks/mine"])
def test_refuses_a_folder_with_a_users_file_and_keeps_it(
    store: Store, out: Path, folder: str
) -> None:
    write(store, out, ["cup/a"])
    holiday = out / folder / "holiday.jpg"
    holiday.parent.mkdir(parents=True, exist_ok=True)
    holiday.write_bytes(b"mine")
    before = snapshot(out)
    with pytest.raises(ForeignFileError, match=r"holiday\.jpg was not made by synthset"):
        write(store, out, ["cup/a", "pan/b"])
    assert snapshot(out) == before


def test_keeps_a_users_files_outside_its_folders(store: Store, out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "report.html").write_text("mine, of before the first run")
    write(store, out, ["cup/a"])
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "report.html").read_text() == "mine, of before the first run"


@pytest.mark.parametrize("name", ["../cup/evil", "cup/../../evil", "/cup/evil", "pan/a"])
def test_refuses_a_sample_that_would_be_written_elsewhere(
    store: Store, out: Path, name: str
) -> None:
    sample = stored_sample(store, "cup/a").model_copy(update={"name": name})
    with pytest.raises(ForeignFileError, match="would be written outside"):
        write_datasets(store, out, {"mixed": {"train": [sample], "val": []}}, [], CLASSES)
    assert not (out / module.FOLDERS[0]).exists()
