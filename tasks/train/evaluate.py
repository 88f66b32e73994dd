"""Score: what each trained network says of the held-out real photos."""

from collections.abc import Iterator, Sequence

from models.data.records import Artifact
from models.training.settings import TrainingParameters
from tasks.engine.fetch_images import fetch_images
from tasks.engine.stage import Job, StageInput, StageOutput, always, stage


def held_out_sets(
    parameters: TrainingParameters,
    checkpoints: Sequence[Artifact],
    datasets: Sequence[Artifact],
    test: Sequence[Artifact],
) -> list[Job]:
    """Per checkpoint: its network, the dataset it was trained on (for val), and the test photos."""
    trained_on = {one.id: one for one in datasets}
    return [
        Job((checkpoint, trained_on[checkpoint.parents[0]], *test), name=checkpoint.name)
        for checkpoint in checkpoints
    ]


def seeing(parameters: TrainingParameters) -> dict[str, object]:
    """What of the settings matters to a prediction: the rest is in the checkpoint's bytes."""
    return {"network": parameters.network, "image_size": parameters.image_size}


@stage(
    "score",
    version=1,
    media="json",
    plan=held_out_sets,
    batch_size=1,
    key_params=seeing,
    uses_gpu=always,
)
def score(inputs: Sequence[StageInput], parameters: TrainingParameters) -> Iterator[StageOutput]:
    """``{"classes", "val", "test"}``; each split as ``images``, ``truth`` and ``probabilities``."""
    # torch takes seconds to import; a run with nothing to score does without.
    from models.training.classification.train import predict

    for item in inputs:
        dataset, test = item.load(1), item.load(2)
        classes = dataset["classes"]
        checkpoint = item.run.store.fetch(item.job.inputs[0], item.run.scratch / "checkpoints")
        splits = {}
        for name, rows in (("val", dataset["val"]), ("test", test["val"])):
            files = fetch_images(item.run, [image for image, _ in rows])
            found = predict(checkpoint, files, parameters, classes)
            splits[name] = {
                "images": [image for image, _ in rows],
                "truth": [classes.index(label) for _, label in rows],
                "probabilities": [[round(float(one), 6) for one in row] for row in found],
            }
        yield StageOutput({"classes": classes, **splits})
