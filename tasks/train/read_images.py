"""The image and mask files that documents in the store name."""

from collections.abc import Sequence

from models.data.records import NO_OBJECT_LABEL
from models.training.task import NO_CLASS, LabelledImages, ObjectTruth, Truth
from tasks.engine.fetch_images import fetch_images
from tasks.engine.jobs import StageInput
from tasks.engine.run_context import RunContext


def object_truth(
    item: StageInput, first: int, rows: Sequence[Sequence[str]], classes: Sequence[str]
) -> Truth:
    """The objects of the images of a document's rows, by image file.

    Args:
        first: the number of the first input of the job that is a document of masks or boxes.
    """
    objects: dict[str, list[tuple[str, str | list[float]]]] = {}
    for number in range(first, len(item.job.inputs)):
        objects.update(item.load(number))
    images = [image for image, _ in rows if image in objects]
    masks = [found for image in images for _, found in objects[image] if isinstance(found, str)]
    files = dict(zip(masks, fetch_images(item.run, masks), strict=True))

    def read(label: str, found: str | list[float]) -> ObjectTruth:
        if isinstance(found, str):
            return ObjectTruth(classes.index(label), mask=files[found])
        x, y, width, height = found
        return ObjectTruth(classes.index(label), box=(x, y, width, height))

    return {
        file: [read(label, found) for label, found in objects[image]]
        for file, image in zip(fetch_images(item.run, images), images, strict=True)
    }


def labelled_images(
    run: RunContext, rows: Sequence[Sequence[str]], classes: Sequence[str]
) -> LabelledImages:
    """The files of a dataset document's rows, each with its class index.

    A photo without an object, which is of no class, has the index `NO_CLASS`.
    """
    files = fetch_images(run, [image for image, _ in rows])
    return [(file, index_of(label, classes)) for file, (_, label) in zip(files, rows, strict=True)]


def index_of(label: str, classes: Sequence[str]) -> int:
    """The index of the class that an image is counted in."""
    return NO_CLASS if label == NO_OBJECT_LABEL else classes.index(label)
