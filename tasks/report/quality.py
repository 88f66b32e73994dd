"""Quality: figures about the images of all generators, from their features; one document."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import Field

from models.data.records import Record, Sample
from models.quality.measure import EmbeddedImage, measure_quality
from tasks.embed.embed import load_features, one_document
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class Quality(Record):
    """How many images of each generator, and of each split of the real photos, are looked at."""

    per_class: int = Field(200, ge=20, description="At most so many images of each class.")
    total: int = Field(2000, ge=20, description="At most so many images of all classes together.")

    def limit(self, n_classes: int) -> int:
        """Images of each class at most."""
        return min(self.per_class, max(2, self.total // max(n_classes, 1)))


def draw_samples(samples: Sequence[Sample], quality: Quality) -> list[Sample]:
    """The accepted images to look at, at most `Quality.limit` of a generator, split and class.

    Keys decide which these are: they are the same in every run, and as good as random.
    """
    limit = quality.limit(len({sample.label for sample in samples if not sample.generator}))
    counts: Counter[tuple[str, str, str]] = Counter()
    drawn = []
    for sample in sorted(samples, key=lambda sample: sample.image.key):
        group = sample.generator, sample.split, sample.label
        if sample.is_accepted and counts[group] < limit:
            counts[group] += 1
            drawn.append(sample)
    return sorted(drawn, key=lambda sample: (sample.generator, sample.split, sample.name))


@stage(
    "quality",
    version=1,
    media="json",
    plan=lambda _, samples, embedded: one_document(samples, embedded, "quality"),
    key_params=lambda _settings: {},
    cost=Cost(ms=1000),
)
def quality(inputs: Sequence[StageInput], parameters: Quality) -> Iterator[StageOutput]:
    """`models.quality.records.QualityMetrics` as JSON."""
    for item in inputs:
        images = [
            EmbeddedImage(**artifact.metadata, features=load_features(item.run, artifact))
            for artifact in item.job.inputs
        ]
        metrics = measure_quality(images, "EfficientNet-Lite0", item.rng())
        yield StageOutput(metrics.model_dump(mode="json"))
