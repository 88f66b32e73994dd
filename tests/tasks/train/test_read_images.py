"""What networks learn from: files of images, their class, and the masks or boxes of objects."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from models.data.records import Annotation, Artifact, Record
from models.training.task import NO_CLASS, LabelledImages, ObjectTruth, Truth
from tasks.assemble.ground_truth import GroundTruth, object_boxes
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.store.store import open_store
from tasks.train.read_images import labelled_images, object_truth
from tests.tasks.assemble.cases import stored_sample

CLASSES = ["cell", "spot"]
FOUND: dict[str, tuple[LabelledImages, Truth]] = {}


class Settings(Record):
    """The test's own stage has no settings."""


@stage("read", version=1, media="json", plan=lambda _, documents: [Job(tuple(documents))])
def read(inputs: Sequence[StageInput], parameters: Settings) -> Iterator[StageOutput]:
    for item in inputs:
        rows = [
            [image, "no object" if not found else found[0][0]]
            for image, found in item.load().items()
        ]
        truth = object_truth(item, 0, rows, CLASSES)
        FOUND["last"] = labelled_images(item.run, rows, CLASSES), truth
        yield StageOutput({})


def test_objects_have_boxes_and_an_image_without_any_has_an_empty_list(tmp_path: Path) -> None:
    run = RunContext(open_store(tmp_path / "store"), "test", scratch=tmp_path / "scratch")
    boxes = (
        Annotation(label="spot", box=(1.5, 2, 3, 4)),
        Annotation(label="cell", box=(0, 0, 9, 9)),
    )
    first, second = (stored_sample(run.store, name) for name in ("cell/a", "cell/b"))
    samples = [
        first.model_copy(update={"annotations": boxes}),
        second.model_copy(update={"annotations": (Annotation(label="no object"),)}),
    ]
    documents: list[Artifact] = object_boxes(run, GroundTruth(), "real", samples)
    read(run, Settings(), documents)
    images, truth = FOUND["last"]
    assert [label for _, label in images] == [1, NO_CLASS]
    (with_objects, _), (without, _) = images
    assert truth == {
        with_objects: [ObjectTruth(1, box=(1.5, 2, 3, 4)), ObjectTruth(0, box=(0, 0, 9, 9))],
        without: [],
    }
