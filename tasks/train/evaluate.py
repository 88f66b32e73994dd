"""The stage ``score``: each trained model's predictions for the held-out real photos."""

from collections.abc import Iterator, Sequence

from models.data.records import Artifact
from models.training.settings import TrainingParameters
from models.training.task import task_of
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.stage import stage
from tasks.train.read_images import index_of, labelled_images, object_truth


def one_job_per_checkpoint(
    parameters: TrainingParameters,
    checkpoints: Sequence[Artifact],
    datasets: Sequence[Artifact],
    test: Sequence[Artifact],
    truths: Sequence[Artifact] = (),
    test_truths: Sequence[Artifact] = (),
) -> list[Job]:
    """Per checkpoint: the checkpoint, the dataset it was trained on (for val), the test photos.

    ``truths`` has the ground truth document of each dataset, and ``test_truths`` that of the test
    photos, for tasks that need masks or boxes.
    """
    documents = {dataset.id: dataset for dataset in datasets}
    masks = {
        dataset.id: (truth, *test_truths)
        for dataset, truth in (zip(datasets, truths, strict=True) if truths else ())
    }
    return [
        Job((checkpoint, documents[source], *test, *masks.get(source, ())), name=checkpoint.name)
        for checkpoint in checkpoints
        for source in checkpoint.parents[:1]
    ]


def prediction_key_params(parameters: TrainingParameters) -> dict[str, object]:
    """The settings that a prediction depends on; the checkpoint's bytes hold the others."""
    if parameters.classifier == "linear":
        return {"classifier": "linear"}
    if parameters.task != "classification":
        names = {"task", "network", "image_size", "ground_truth", "border"}
        names |= {"anchor_scale", "nms_threshold", "score_threshold"}
        return parameters.model_dump(mode="json", include=names)
    return {"network": parameters.network, "image_size": parameters.image_size}


@stage(
    "score",
    version=2,
    media="json",
    plan=one_job_per_checkpoint,
    batch_size=1,
    key_params=prediction_key_params,
    uses_gpu=True,
)
def score(inputs: Sequence[StageInput], parameters: TrainingParameters) -> Iterator[StageOutput]:
    """``{"classes", "val", "test"}``.

    Each split holds ``images``, ``truth`` and the task's prediction columns.
    """
    task = task_of(parameters)
    for item in inputs:
        dataset, test = item.load(1), item.load(2)
        classes = dataset["classes"]
        checkpoint = item.run.store.fetch(item.job.inputs[0], item.run.scratch / "checkpoints")
        splits = {}
        for name, rows in (("val", dataset["val"]), ("test", test["val"])):
            images = labelled_images(item.run, rows, classes)
            truth = object_truth(item, 3, rows, classes)
            splits[name] = {
                "images": [image for image, _ in rows],
                "truth": [index_of(label, classes) for _, label in rows],
                **task.predict(checkpoint, images, parameters, classes, truth),
            }
        yield StageOutput({"classes": classes, **task.names(parameters, classes), **splits})
