"""The image and mask files that documents in the store name."""

from collections.abc import Sequence

from models.training.task import LabelledImages, ObjectTruth, Truth
from tasks.engine.fetch_images import fetch_images
from tasks.engine.jobs import StageInput
from tasks.engine.run_context import RunContext


def object_truth(
    item: StageInput, first: int, rows: Sequence[Sequence[str]], classes: Sequence[str]
) -> Truth:
    """The objects of the images of a document's rows, by image file.

    Args:
        first: the number of the first input of the job that is a ground truth document.
    """
    objects: dict[str, list[list[str]]] = {}
    for number in range(first, len(item.job.inputs)):
        objects.update(item.load(number))
    images = [image for image, _ in rows if image in objects]
    masks = [mask for image in images for _, mask in objects[image]]
    files = dict(zip(masks, fetch_images(item.run, masks), strict=True))
    return {
        file: [ObjectTruth(classes.index(label), files[mask]) for label, mask in objects[image]]
        for file, image in zip(fetch_images(item.run, images), images, strict=True)
    }


def labelled_images(
    run: RunContext, rows: Sequence[Sequence[str]], classes: Sequence[str]
) -> LabelledImages:
    """The files of a dataset document's rows, each with its class index."""
    files = fetch_images(run, [image for image, _ in rows])
    return [(file, classes.index(label)) for file, (_, label) in zip(files, rows, strict=True)]
