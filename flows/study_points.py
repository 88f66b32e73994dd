"""The trainings of a study: each point and replicate is trained and scored by the usual stages."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.execution.progress import show_progress
from models.data.records import Artifact, Sample
from models.evaluation.study import Point, ScoreContent, ScoredPoint, join_replicates
from models.training.settings import TrainingParameters, equal_steps
from tasks.assemble.dataset import Dataset, dataset
from tasks.embed.embed import EmbedBackbone, embed, load_features
from tasks.engine.run_context import RunContext
from tasks.study.subsets import Subset
from tasks.train.evaluate import score
from tasks.train.train import train

# The name of all trainings of studies; their images and settings tell them apart.
TRAINING = "study"


@dataclass(frozen=True)
class Trainer:
    """How the points of a study are trained, and the photos that score them.

    ``families`` has the near-duplicate family of val and test photos, by artifact id.
    """

    run: RunContext
    settings: TrainingParameters
    val: Sequence[Sample]
    test: Sequence[Sample]
    families: Mapping[str, str]


def score_points(trainer: Trainer, subsets: Sequence[Subset]) -> list[ScoredPoint]:
    """Train and score all subsets; the points in the order of their first subset.

    Replicates are trained one after the other, so that a study that is stopped has whole ones.
    """
    run, steps = trainer.run, equal_steps(trainer.settings, [len(found.train) for found in subsets])
    if trainer.settings.classifier == "linear":
        _embed_once(trainer, subsets)
    test = dataset.run(run, Dataset(), "test", [], trainer.test)
    groups: dict[tuple[int, str], list[Subset]] = defaultdict(list)
    for subset in subsets:
        groups[subset.replicate, subset.point.augment].append(subset)
    contents: dict[Point, list[ScoreContent]] = {found.point: [] for found in subsets}
    with show_progress("training epochs", len(subsets) * steps.planned_epochs) as advance:
        run.on_step = advance
        for (replicate, augment), group in sorted(groups.items(), key=lambda entry: entry[0][0]):
            settings = steps.model_copy(update={"augment": augment, "seeds": (replicate,)})
            documents = [_document(trainer, subset) for subset in group]
            checkpoints = train(run, settings, TRAINING, documents)
            scores = score(run, settings, checkpoints, documents, test)
            for subset, scored in zip(group, scores, strict=True):
                contents[subset.point].append(run.load(scored))
    return [
        ScoredPoint(
            point,
            val=join_replicates(found, "val", trainer.families),
            test=join_replicates(found, "test", trainer.families),
        )
        for point, found in contents.items()
    ]


def _document(trainer: Trainer, subset: Subset) -> Artifact:
    (document,) = dataset.run(trainer.run, Dataset(), subset.name, subset.train, trainer.val)
    return document


def _embed_once(trainer: Trainer, subsets: Sequence[Subset]) -> None:
    """Compute the features of every image that the store lacks, and keep all of them at hand."""
    from models.embedding.cache import remember_features

    samples = (trainer.val, trainer.test, *(subset.train for subset in subsets))
    images = {sample.image.id: sample.image for found in samples for sample in found}
    embedded = embed(trainer.run, EmbedBackbone(), list(images.values()))
    for image, features in zip(images.values(), embedded, strict=True):
        remember_features(image.digest, load_features(trainer.run, features))
