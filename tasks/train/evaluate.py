"""Score: what each trained network says of the held-out real photos."""

from collections.abc import Iterator, Sequence

from models.data.records import Artifact
from models.training.settings import TrainingParameters
from tasks.engine.fetch_images import fetch_images
from tasks.engine.stage import Job, Piece, Product, always, stage


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
    identity=seeing,
    heavy=always,
)
def score(pieces: Sequence[Piece], parameters: TrainingParameters) -> Iterator[Product]:
    """``{"classes", "val", "test"}``; each split as ``images``, ``truth`` and ``probabilities``."""
    # torch takes seconds to import; a run with nothing to score does without.
    from models.training.classification.train import predict

    for piece in pieces:
        dataset, test = piece.load(1), piece.load(2)
        classes = dataset["classes"]
        checkpoint = piece.bench.store.fetch(
            piece.job.inputs[0], piece.bench.scratch / "checkpoints"
        )
        splits = {}
        for name, rows in (("val", dataset["val"]), ("test", test["val"])):
            files = fetch_images(piece.bench, [image for image, _ in rows])
            found = predict(checkpoint, files, parameters, classes)
            splits[name] = {
                "images": [image for image, _ in rows],
                "truth": [classes.index(label) for _, label in rows],
                "probabilities": [[round(float(one), 6) for one in row] for row in found],
            }
        yield Product({"classes": classes, **splits})
