from pathlib import Path

from models.data.records import Annotation, Sample
from tasks.assemble.dataset import Dataset, dataset
from tasks.engine.jobs import default_key_params
from tasks.engine.run_context import RunContext, StageCount
from tasks.store.store import open_store
from tests.tasks.assemble.cases import samples


def document(folder: Path, train: list[Sample], val: list[Sample]) -> tuple[RunContext, object]:
    run = RunContext(open_store(folder / "store"), "test")
    (made,) = dataset.run(run, Dataset(), "mixed", train, val)
    return run, run.load(made)


def test_lists_the_artifacts_and_classes_of_train_and_val(tmp_path: Path) -> None:
    drawn = samples("", {"cup": 2, "pan": 1})
    _, content = document(tmp_path, drawn[:2], drawn[2:])
    assert content == {
        "dataset": "mixed",
        "classes": ["cup", "pan"],
        "train": [["resize/cup--0", "cup"], ["resize/cup--1", "cup"]],
        "val": [["resize/pan--0", "pan"]],
        "generators": ["", ""],
    }
    made = samples("multiview", {"cup": 1})
    _, content = document(tmp_path, [drawn[0], *made], [])
    assert isinstance(content, dict)
    assert content["generators"] == ["", "multiview"]


def test_the_same_images_are_the_same_document(tmp_path: Path) -> None:
    drawn = samples("", {"cup": 2, "pan": 2})
    document(tmp_path, drawn, [])
    run, _ = document(tmp_path, drawn, [])
    assert run.counts["dataset"] == StageCount(cached=1)


def test_renamed_classes_and_moved_photos_are_other_documents(tmp_path: Path) -> None:
    drawn = samples("", {"cup": 2, "pan": 2})
    document(tmp_path, drawn, [])
    renamed = [
        sample.model_copy(update={"annotations": (Annotation(label=f"{sample.label}s"),)})
        for sample in drawn
    ]
    run, content = document(tmp_path, renamed, [])
    assert run.counts["dataset"] == StageCount(computed=1)
    assert isinstance(content, dict)
    assert content["classes"] == ["cups", "pans"]
    run, _ = document(tmp_path, drawn[:3], drawn[3:])
    assert run.counts["dataset"] == StageCount(computed=1)


def test_images_of_several_classes_are_for_networks_that_give_each_pixel_a_class(
    tmp_path: Path,
) -> None:
    scenes = samples("copy_paste", {"cup": 2})
    scenes[1] = scenes[1].model_copy(update={"counted_as": "cup"})
    run = RunContext(open_store(tmp_path / "store"), "test")
    lengths = [
        len(run.load(dataset.run(run, Dataset(by_object=value), "scenes", scenes, [])[0])["train"])
        for value in (False, True)
    ]
    assert lengths == [1, 2]


def test_the_kind_of_training_is_in_no_key() -> None:
    assert default_key_params(Dataset(by_object=True)) == {}


def test_classes_of_boxes_are_named_and_an_image_is_of_the_class_it_is_counted_in(
    tmp_path: Path,
) -> None:
    drawn = samples("", {"cell": 1, "no object": 1})
    run = RunContext(open_store(tmp_path / "store"), "test")
    found = []
    for classes in (("cell", "platelet"), ("cell",)):
        settings = Dataset(by_object=True, classes=classes)
        (made,) = dataset.run(run, settings, "real", drawn, [])
        found.append(run.load(made))
    assert [content["classes"] for content in found] == [["cell", "platelet"], ["cell"]]
    assert [label for _, label in found[0]["train"]] == ["cell", "no object"]
    assert run.counts["dataset"] == StageCount(computed=2)
