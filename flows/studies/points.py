"""The trainings of a study: each point and replicate is trained and scored by the usual stages."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from flows.execution.progress import show_progress
from models.data.records import Artifact, Sample
from models.evaluation.prediction_file.score_content import ScoreContent, join_seeds
from models.evaluation.study import ScoredPoint
from models.evaluation.study_point import Point
from models.training.settings import TrainingParameters, equal_steps
from tasks.assemble.dataset import Dataset, dataset
from tasks.assemble.ground_truth import GroundTruth, ground_truth, object_boxes
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

    ``documents`` says how the documents of datasets list images. ``families`` has the
    near-duplicate family of val and test photos, by artifact id.
    """

    run: RunContext
    settings: TrainingParameters
    documents: Dataset
    val: Sequence[Sample]
    test: Sequence[Sample]
    families: Mapping[str, str]


def score_points(trainer: Trainer, subsets: Sequence[Subset]) -> list[ScoredPoint]:
    """Train and score all subsets; the points in the order of their first subset.

    Replicates are trained one after the other, so that a study that is stopped has whole ones.
    """
    run, steps = trainer.run, equal_steps(trainer.settings, [len(found.train) for found in subsets])
    linear = [found for found in subsets if found.point.classifier == "linear"]
    if linear:
        _embed_once(trainer, linear)
    needs_truth = trainer.settings.needs_masks or trainer.settings.needs_boxes
    groups = _group(subsets, apart=needs_truth)
    contents: dict[Point, list[ScoreContent]] = {found.point: [] for found in subsets}
    epochs = sum(_settings(steps, found).planned_epochs for found in subsets)
    with show_progress("training epochs", epochs) as advance:
        run.on_step = advance
        for group in groups:
            scores = _train_group(trainer, _settings(steps, group[0]), group)
            for subset, scored in zip(group, scores, strict=True):
                contents[subset.point].append(run.load(scored))
    return [
        ScoredPoint(
            point,
            val=join_seeds(found, "val", trainer.families),
            test=join_seeds(found, "test", trainer.families),
        )
        for point, found in contents.items()
    ]


def _group(subsets: Sequence[Subset], *, apart: bool) -> list[list[Subset]]:
    """Subsets that one call of a stage trains: of one replicate, with the same settings.

    ``apart``: each by itself, because its masks or boxes are inputs of its training alone.
    """
    groups: dict[tuple[int, str, str, int], list[Subset]] = defaultdict(list)
    for number, subset in enumerate(subsets):
        point = subset.point
        own = number if apart else 0
        groups[subset.replicate, point.augment, point.classifier, own].append(subset)
    return [group for _, group in sorted(groups.items(), key=lambda entry: entry[0][0])]


def _settings(parameters: TrainingParameters, subset: Subset) -> TrainingParameters:
    own = {
        "augment": subset.point.augment,
        "classifier": subset.point.classifier,
        "seeds": (subset.replicate,),
    }
    return parameters.model_copy(update=own)


def _train_group(
    trainer: Trainer, settings: TrainingParameters, group: Sequence[Subset]
) -> list[Artifact]:
    """The scores of subsets with the same settings."""
    run = trainer.run
    kind = trainer.documents
    (test,) = dataset.run(run, kind, "test", [], trainer.test)
    documents = list(
        chain.from_iterable(
            dataset.run(run, kind, subset.name, subset.train, trainer.val) for subset in group
        )
    )
    truths: list[Artifact] = []
    tested: list[Artifact] = []
    if settings.needs_masks or settings.needs_boxes:
        (subset,) = group
        describe = ground_truth if settings.needs_masks else object_boxes
        truths = describe.run(run, GroundTruth(), subset.name, [*subset.train, *trainer.val])
        tested = describe.run(run, GroundTruth(), "test", trainer.test)
    checkpoints = train(run, settings, TRAINING, documents, truths)
    return score(run, settings, checkpoints, documents, [test], truths, tested)


def _embed_once(trainer: Trainer, subsets: Sequence[Subset]) -> None:
    """Compute the features of every image that the store lacks, and keep all of them at hand."""
    from models.embedding.cache import remember_features

    samples = (trainer.val, trainer.test, *(subset.train for subset in subsets))
    images = {sample.image.id: sample.image for found in samples for sample in found}
    embedded = embed(trainer.run, EmbedBackbone(), list(images.values()))
    for image, features in zip(images.values(), embedded, strict=True):
        remember_features(image.digest, load_features(trainer.run, features))
